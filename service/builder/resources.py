"""Resources that are kept in tables of their own."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from piccolo.table import Table

from domain.errors import Misconfigured
from domain.query import Resource
from infra.database.table import check_pair
from service.builder.core import Core
from service.choices import OfferedResource
from service.http.crud import Operation, Permissions
from service.managers.hooks import Hooks


class Resources(Core):
    """What is offered over HTTP as a resource."""

    def with_crud(
        self,
        resource: Resource[Any],
        *,
        table: type[Table],
        permissions: Permissions | None = None,
        hooks: Sequence[Hooks[Any]] = (),
        cache_ttl: float | None = None,
    ) -> Self:
        """Offer a resource over HTTP and keep it in `table`; `hooks` surround its changes in the given order.

        With a cache, replies are kept for `cache_ttl` seconds: None is what `with_cache` says, 0 not at all.
        """
        if cache_ttl is not None and not 0 <= cache_ttl < float("inf"):
            raise Misconfigured(f"with_crud({resource.name}, cache_ttl={cache_ttl!r}): use seconds, 0 or more")
        for hook in hooks:
            if not isinstance(hook, Hooks):
                raise Misconfigured(
                    f"with_crud({resource.name}): hook {hook!r} must derive from Hooks (is it a class?)"
                )
        check_pair(resource, table)
        offered = OfferedResource(resource, table, permissions or Permissions(), tuple(hooks), cache_ttl)
        self._choices.resources.append(offered)
        return self

    def register_collection_operation(
        self,
        resource: Resource[Any],
        name: str,
        handler: Callable[..., Any],
        *,
        method: str = "GET",
        status_code: int | None = None,
        summary: str | None = None,
    ) -> Self:
        """Add `<path>/$name`. The handler is a Litestar handler function; `manager` is the resource's manager."""
        operation = Operation(name=name, handler=handler, method=method, status_code=status_code, summary=summary)
        self._choices.operations.setdefault(resource.name, []).append(operation)
        return self

    def register_entity_operation(
        self,
        resource: Resource[Any],
        name: str,
        handler: Callable[..., Any],
        *,
        method: str = "GET",
        status_code: int | None = None,
        summary: str | None = None,
    ) -> Self:
        """Add `<path>/{id}/$name`; the handler takes `id` besides `manager`."""
        operation = Operation(
            name=name, handler=handler, method=method, status_code=status_code, summary=summary, is_entity=True
        )
        self._choices.operations.setdefault(resource.name, []).append(operation)
        return self
