"""Which replies a service caches, and of what they are made."""

import msgspec

from infra.runners.sources import folder_hash
from service.caching import CacheDesign
from service.choices import Choices, OfferedResource
from service.http.application import Layer
from service.http.cached_routes import CachedRoute, CachedRoutes
from service.http.response_cache import ResponseCache
from service.http.running import Running
from service.managers.cached import Cached


def cache_design(choices: Choices) -> CacheDesign | None:
    """What is to be opened, None without a cache."""
    if choices.cache is None:
        return None
    cached = [item for item in choices.resources if _is_counted(choices, item)]
    # A field more or less is another reply, and so may be anything that code elsewhere computes.
    resources = [[item.resource.name, item.resource.path, list(item.resource.readable)] for item in cached]
    return CacheDesign(
        options=choices.cache,
        tables=tuple(item.table for item in cached),
        code=folder_hash(choices.folder) + msgspec.json.encode(resources).decode(),
    )


def counted_tables(choices: Choices) -> dict[str, str]:
    """The tables whose changes are counted, by the names of their resources."""
    if choices.cache is None:
        return {}
    return {item.resource.name: item.table._meta.tablename for item in choices.resources if _is_counted(choices, item)}


def cache_layer(choices: Choices, running: Running) -> list[Layer]:
    """The layer that answers from the cache, if there is something to answer."""
    options = choices.cache
    if options is None:
        return []
    routes: dict[str, CachedRoute] = {}
    entities: dict[str, CachedRoute] = {}
    for item in choices.resources:
        ttl = _ttl(choices, item)
        if not ttl:
            continue
        path, names = item.resource.path, (item.table._meta.tablename,)
        for template in (path, f"{path}/$stats"):
            routes[template] = CachedRoute(template=template, names=names, ttl_seconds=ttl)
        entities[path] = CachedRoute(template=f"{path}/{{id}}", names=names, ttl_seconds=ttl)
    found = CachedRoutes(routes, entities)
    return [
        lambda app: ResponseCache(app, found, lambda: running.caching, credential_headers=options.credential_headers)
    ]


def _is_counted(choices: Choices, item: OfferedResource) -> bool:
    return _ttl(choices, item) > 0 or any(isinstance(hook, Cached) for hook in item.hooks)


def _ttl(choices: Choices, item: OfferedResource) -> float:
    if choices.cache is None or not item.permissions.read:
        return 0.0
    return choices.cache.ttl_seconds if item.cache_ttl is None else item.cache_ttl
