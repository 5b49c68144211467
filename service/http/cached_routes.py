"""Which requests a cache may answer, and what they say to it."""

from collections.abc import Mapping

import msgspec


class CachedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route whose replies depend on the tables `names` and nothing else. `template` is its path for people."""

    template: str
    names: tuple[str, ...]
    ttl_seconds: float


class CachedRoutes:
    """Finds the route of a path: the path of a resource, one of its operations, or one of its entities."""

    def __init__(self, routes: Mapping[str, CachedRoute], entities: Mapping[str, CachedRoute]) -> None:
        self._routes = dict(routes)
        self._entities = dict(entities)

    def find(self, path: str) -> CachedRoute | None:
        """The route, None for one that is not cached."""
        found = self._routes.get(path)
        if found is not None:
            return found
        parent, _, last = path.rpartition("/")
        return self._entities.get(parent) if last and not last.startswith("$") else None


class Asked(msgspec.Struct):
    """What the headers and the query of a request say to a cache."""

    credentials: list[bytes] = []
    known: bytes | None = None
    is_refreshing: bool = False
    takes_gzip: bool = False
    query: str = ""
