"""What the OpenAPI document is told: of resources, and by handlers that read their request by hand."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar

from domain.bodies import Bodies
from domain.query import Resource
from service.http.crud import Permissions
from service.http.dto import read_model
from service.http.effects import NO_EFFECT
from service.http.parameters import Json

_OPTION = "millrace_documented"


class Described(msgspec.Struct, frozen=True):
    """A resource as the document needs it.

    `tags` None is its name. Its list takes `parameters` besides, and there are more `lists`, as verb and summary.
    `example` is an entity, None for one that is guessed. `is_named` says that its ids may be names.
    """

    resource: Resource[Any]
    bodies: Bodies[Any]
    permissions: Permissions
    tags: Sequence[str] | None = None
    parameters: Sequence[Json] = ()
    lists: Sequence[tuple[str, str]] = ()
    example: Json | None = None
    is_named: bool = False

    @property
    def models(self) -> list[type[msgspec.Struct]]:
        """The Structs of what is sent and shown."""
        allowed = self.permissions
        sent = [self.bodies.create] if allowed.create or allowed.update else []
        return [read_model(self.resource), *sent, *([self.bodies.patch] if allowed.update else [])]


class Documented(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation takes and answers, beyond what its signature says.

    `errors` are statuses, `others` those of further replies, which have no body, with what they mean. `has_location`
    says that the reply names what was made. There may be several `bodies` to choose from, with `examples` by name;
    `reply` is the type of what is answered when the signature does not have it, `headers` those of that reply. It may
    also come as one of the `media_types`.
    """

    body: type[msgspec.Struct] | None = None
    is_body_optional: bool = False
    example: Any = None
    parameters: Sequence[Json] = ()
    errors: Sequence[str] = ()
    others: Mapping[str, str] = {}
    has_location: bool = False
    bodies: Sequence[type[msgspec.Struct]] = ()
    examples: Mapping[str, Any] = {}
    reply: Any = None
    headers: Mapping[str, str] = {}
    media_types: Sequence[str] = ()


def documents(*, has_effect: bool = True, **members: Any) -> dict[str, Any]:
    """The `opt` of a handler whose operation is so documented; takes the members of `Documented`.

    Without an effect its requests need no key to be sent again.
    """
    return {_OPTION: Documented(**members), **({} if has_effect else NO_EFFECT)}


def documented(app: Litestar) -> Iterator[tuple[str, str, Documented]]:
    """Path, method (in lower case) and what is said, of every handler of an app that says something."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            said = handler.opt.get(_OPTION)
            if isinstance(said, Documented):
                for method in handler.http_methods - {"OPTIONS"}:
                    yield route.path_format, method.lower(), said
