"""Which handlers of unsafe methods change nothing: a POST may only compute, or ask with a query in its body."""

from collections.abc import Mapping
from typing import Any

from litestar import Litestar
from litestar.handlers import BaseRouteHandler

from domain.idempotency import UNSAFE_METHODS

_OPTION = "has_effect"
NO_EFFECT: Mapping[str, Any] = {_OPTION: False}
"""The `opt` of a handler that changes nothing, so that its requests need no key to be sent again."""


def has_effect(handler: BaseRouteHandler) -> bool:
    """Whether a handler of an unsafe method may change something."""
    return bool(handler.opt.get(_OPTION, True))


def changing(app: Litestar) -> set[tuple[str, str]]:
    """Path and method (in lower case) of everything that may change something."""
    return {
        (route.path_format, method.lower())
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if has_effect(handler)
        for method in handler.http_methods & UNSAFE_METHODS
    }
