"""What a method is called where clients must not be able to make names."""

from typing import Any

ANY_OTHER = "_OTHER"
_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


def method_of(scope: Any) -> str:
    """The method of a request, if HTTP knows it."""
    return "HEAD" if "is_head" in scope else _METHODS.get(scope["method"], ANY_OTHER)
