"""A resource: an entity under a path, with the lists of what clients may filter, sort, search and read."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from domain.entity import SERVER_MANAGED, Entity
from domain.errors import Misconfigured
from domain.query.derive import field_of
from domain.query.fields import Field, Kind

EntityT = TypeVar("EntityT", bound=Entity)


class QueryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one query may ask for; beyond a limit it is refused with the limit in the message.

    `filter_bytes` bounds a filter in the URL, `body_bytes` the body of `$query`. `depth` counts nested `and`, `or`,
    `not`; `nodes` all comparisons; `choices` the values of one `in`; `text_length` the characters of one value.
    `list_length` bounds the bare list (None: no bound), `page_size` a page and a cursor's `limit`,
    `count_ceiling` is where `count=capped` stops.
    """

    filter_bytes: int = 8 * 1024
    body_bytes: int = 256 * 1024
    depth: int = 5
    nodes: int = 50
    choices: int = 200
    text_length: int = 256
    list_length: int | None = 10_000
    page_size: int = 100
    keyset_size: int = 500
    default_keyset_size: int = 50
    count_ceiling: int = 10_000


class Resource(Generic[EntityT]):
    """How an entity is offered over HTTP.

    `filterable`, `sortable` and `searchable` are allowlists of field names; left out, they hold every readable field
    that can be filtered, every one that can be sorted, every text field. `hidden` fields are stored and never shown,
    `read_only` ones are shown and never taken from a client. Lists without `sort` come in the order of their ids, or
    `is_newest_first`. Unknown members of a body are an error, unless it `ignores_unknown`.
    Raises `Misconfigured` with what to change.
    """

    def __init__(
        self,
        entity: type[EntityT],
        name: str,
        *,
        path: str | None = None,
        filterable: Collection[str] | None = None,
        sortable: Collection[str] | None = None,
        searchable: Collection[str] | None = None,
        hidden: Collection[str] = (),
        read_only: Collection[str] = (),
        limits: QueryLimits | None = None,
        is_newest_first: bool = False,
        ignores_unknown: bool = False,
    ) -> None:
        if not _is_entity(entity):
            raise Misconfigured(f"Resource({entity!r}): the first argument is a class that derives from Entity")
        if not name or not all(part.isidentifier() for part in name.split("-")):
            raise Misconfigured(f'Resource name {name!r}: use a plural noun such as "users" or "user-groups"')
        self.entity = entity
        self.name = name
        self.path = (path or f"/api/v1/{name}").rstrip("/")
        if not self.path.startswith("/"):
            raise Misconfigured(f"Resource {name}: path {path!r} must start with '/'")
        self.limits = limits or QueryLimits()
        self.is_newest_first = is_newest_first
        self.ignores_unknown = ignores_unknown
        self.fields = _fields_of(entity)
        self.hidden = self._names("hidden", hidden)
        self.read_only = self._names("read_only", read_only) | SERVER_MANAGED
        self._check_defaults()
        self.readable = tuple(field for field in self.fields if field not in self.hidden)
        self.filterable = self._allowlist("filterable", filterable, self._default_filterable())
        self.sortable = self._allowlist("sortable", sortable, self._default_sortable())
        self.searchable = self._allowlist("searchable", searchable, self._default_searchable())
        self._check_kinds()

    def _default_filterable(self) -> Iterable[str]:
        return self.readable

    def _default_sortable(self) -> Iterable[str]:
        return (name for name in self.readable if self.fields[name].is_sortable)

    def _default_searchable(self) -> Iterable[str]:
        return (name for name in self.readable if self.fields[name].kind is Kind.TEXT)

    def _names(self, argument: str, names: Collection[str]) -> frozenset[str]:
        for name in names:
            if name not in self.fields:
                raise Misconfigured(
                    f"Resource {self.name}: {argument} names {name!r}, which {self.entity.__name__} does not have"
                    f"{suggestion(name, self.fields)}"
                )
        return frozenset(names)

    def _allowlist(self, argument: str, names: Collection[str] | None, default: Iterable[str]) -> tuple[str, ...]:
        if names is None:
            return tuple(default)
        chosen = self._names(argument, names)
        # A filter or an order over a hidden field lets a client guess its values one comparison at a time.
        for name in chosen & self.hidden:
            raise Misconfigured(f"Resource {self.name}: {name!r} is hidden, so it cannot be {argument}")
        return tuple(name for name in self.fields if name in chosen)

    def _check_defaults(self) -> None:
        if self.entity.__struct_config__.tag is not None:
            raise Misconfigured(f"{self.entity.__name__} has a tag: an entity is stored without one, so leave it out")
        for member in msgspec.structs.fields(self.entity):
            if member.encode_name != member.name:
                raise Misconfigured(
                    f"{self.entity.__name__}.{member.name} is renamed to {member.encode_name!r}: a field has one name, "
                    "in the table, in queries and on the wire"
                )
            if member.required and member.name in self.read_only:
                raise Misconfigured(f"Resource {self.name}: {member.name!r} is read-only, so it needs a default value")

    def _check_kinds(self) -> None:
        for name in self.sortable:
            if not self.fields[name].is_sortable:
                raise Misconfigured(f"Resource {self.name}: {name!r} is a {self.fields[name].kind} and has no order")
        for name in self.searchable:
            if self.fields[name].kind is not Kind.TEXT:
                raise Misconfigured(f"Resource {self.name}: {name!r} is not text, so it cannot be searchable")

    def bounded(self, bounds: Mapping[str, Mapping[str, int]]) -> "Resource[EntityT]":
        """This resource with the storage bounds of its fields (`minimum`, `maximum`, `max_length`) filled in."""
        twin: Resource[EntityT] = object.__new__(Resource)
        twin.__dict__.update(self.__dict__)
        twin.fields = {
            name: msgspec.structs.replace(field, **bounds.get(name, {})) for name, field in self.fields.items()
        }
        return twin

    def at(self, path: str) -> "Resource[EntityT]":
        """This resource under another path."""
        twin: Resource[EntityT] = object.__new__(Resource)
        twin.__dict__.update(self.__dict__)
        twin.path = path
        return twin


def _is_entity(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Entity)


def _fields_of(entity: type[Entity]) -> dict[str, Field]:
    hints: dict[str, Any] = get_type_hints(entity, include_extras=True)
    return {
        member.name: field_of(member.name, hints[member.name], owner=entity.__name__)
        for member in msgspec.structs.fields(entity)
    }


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean "age"?` when something close is known, otherwise nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
