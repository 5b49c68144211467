"""Which requests a cache may answer, and what they say to it."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import msgspec

from domain.caching import group_of
from domain.entity import parse_id

_ID_LENGTH = 26
_parse_id = lru_cache(1_000)(parse_id)


class CachedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route whose replies depend on the tables `names` and nothing else. `template` is its path for people."""

    template: str
    names: tuple[str, ...]
    ttl_seconds: float


class CachedRoutes:
    """Finds the route of a path: the path of a resource, one of its operations, or one of its entities.

    Of `entities` there is a route for each group of them. `others` are paths of the service that are no entity of a
    resource, although they may look like one.
    """

    def __init__(
        self,
        routes: Mapping[str, CachedRoute],
        entities: Mapping[str, Sequence[CachedRoute]],
        others: Collection[str] = (),
    ) -> None:
        self._routes = dict(routes)
        self._entities = dict(entities)
        self._others = frozenset(others)

    def find(self, path: str) -> CachedRoute | None:
        """The route, None for one that is not cached."""
        found = self._routes.get(path)
        if found is not None:
            return found
        parent, _, last = path.rpartition("/")
        if len(last) != _ID_LENGTH:
            return None
        groups = self._entities.get(parent)
        id = _parse_id(last) if groups is not None else None
        # Whatever else is beneath a resource is answered by somebody else's code, and made of who knows what.
        if groups is None or id is None or path in self._others:
            return None
        return groups[group_of(id, len(groups))] if len(groups) > 1 else groups[0]


class Asked(msgspec.Struct):
    """What the headers and the query of a request say to a cache; `is_bypassing` one that no cache may answer."""

    credentials: list[bytes] = []
    known: bytes | None = None
    is_refreshing: bool = False
    is_bypassing: bool = False
    takes_gzip: bool = False
    query: str = ""

    @property
    def control(self) -> bytes:
        """The `Cache-Control` of its reply."""
        # To be kept by anybody, and used after asking here: that is what makes a change visible at once.
        return b"private, no-cache" if self.credentials else b"no-cache"
