"""Replaces dependencies deep inside of a user's routers, without touching the routers themselves."""

import copy
from collections.abc import Mapping
from typing import Any, cast

from litestar import Controller, Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler


def overridden(
    value: ControllerRouterHandler, overrides: Mapping[str, Provide]
) -> tuple[ControllerRouterHandler, set[str]]:
    """A copy of a router, controller or handler with some dependencies replaced, and the names that were found."""
    if isinstance(value, type) and issubclass(value, Controller):
        declared: dict[str, Any] = dict(getattr(value, "dependencies", None) or {})
        hits = _hits(declared, overrides)
        made = type(value.__name__, (value,), {"dependencies": {**declared, **hits}}) if hits else value
        return cast("ControllerRouterHandler", made), set(hits)
    twin: Any = copy.deepcopy(value)
    layers = [twin]
    if isinstance(twin, Router):
        for route in twin.routes:
            handlers = getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]
            layers += [layer for handler in handlers if handler is not None for layer in handler.ownership_layers]
    found: set[str] = set()
    for layer in layers:
        hits = _hits(getattr(layer, "dependencies", None) or {}, overrides)
        if hits:
            layer.dependencies = {**layer.dependencies, **hits}
            found |= set(hits)
    return cast("ControllerRouterHandler", twin), found


def _hits(declared: Mapping[str, Any], overrides: Mapping[str, Provide]) -> dict[str, Provide]:
    return {name: overrides[name] for name in declared if name in overrides}
