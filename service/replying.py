"""Which replies a service caches, and of what they are made."""

import msgspec
from litestar import Litestar

from domain.caching import group_name
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
    # A field more or less is another reply, and so may be anything that code elsewhere computes.
    resources = [[item.resource.name, item.resource.path, list(item.resource.readable)] for item in choices.resources]
    return CacheDesign(
        options=choices.cache,
        # Those whose replies are not kept, too: results of the service's own code may be made of them.
        tables=tuple(item.table for item in choices.resources),
        code=folder_hash(choices.folder) + msgspec.json.encode(resources).decode(),
    )


def kept_tables(choices: Choices) -> dict[str, str]:
    """The tables that alone say what is read of their resources, by the names of these."""
    return {item.resource.name: item.table._meta.tablename for item in choices.resources if _ttl(choices, item) > 0}


def cache_layer(choices: Choices, app: Litestar, running: Running) -> list[Layer]:
    """The layer that answers from the cache in front of `app`, if there is something to answer."""
    options = choices.cache
    if options is None:
        return []
    routes: dict[str, CachedRoute] = {}
    entities: dict[str, list[CachedRoute]] = {}
    for item in choices.resources:
        ttl = _ttl(choices, item)
        if not ttl:
            continue
        path, table = item.resource.path, item.table._meta.tablename
        for template in (path, f"{path}/$stats"):
            routes[template] = CachedRoute(template=template, names=(table,), ttl_seconds=ttl)
        entities[path] = _entity_routes(item, table, f"{path}/{{id}}", ttl)
    others = [route.path for route in app.routes if not route.path_parameters]
    found = CachedRoutes(routes, entities, others)
    return [
        lambda app: ResponseCache(app, found, lambda: running.caching, credential_headers=options.credential_headers)
    ]


def _entity_routes(item: OfferedResource, table: str, template: str, ttl: float) -> list[CachedRoute]:
    """The routes of single entities, one for each group of them."""
    hook = next((hook for hook in item.hooks if isinstance(hook, Cached) and hook.groups), None)
    if hook is None:
        return [CachedRoute(template=template, names=(table,), ttl_seconds=ttl)]
    # A change that no manager has made is not heard of: a reply is as old as what it is made of may be.
    ttl = min(ttl, hook.lifetime.ttl_seconds)
    return [
        CachedRoute(template=template, names=(group_name(table, number),), ttl_seconds=ttl)
        for number in range(hook.groups)
    ]


def _ttl(choices: Choices, item: OfferedResource) -> float:
    if choices.cache is None or not item.permissions.read:
        return 0.0
    return choices.cache.ttl_seconds if item.cache_ttl is None else item.cache_ttl
