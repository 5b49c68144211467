"""Piccolo's AppConfig and AppRegistry, without the formatter of Python code that their module brings along."""

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["AppConfig", "AppRegistry"]

_FORMATTER = "black"


class _Deferred(ModuleType):
    """Stands for a module that is loaded when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


# Only the files of new migrations are formatted, and every start of a service would pay for it: 50 ms and 5 MiB.
_is_loaded = _FORMATTER in sys.modules
sys.modules.setdefault(_FORMATTER, _Deferred(_FORMATTER))
try:
    from piccolo.conf.apps import AppConfig, AppRegistry
finally:
    if not _is_loaded:
        del sys.modules[_FORMATTER]
