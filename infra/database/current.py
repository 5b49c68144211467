"""The engine of the app that is running: what lets one Table serve several apps in one process."""

from contextvars import ContextVar
from typing import Any, cast

from piccolo.engine.base import Engine

_engine: ContextVar[Engine[Any] | None] = ContextVar("millrace_engine", default=None)


def use_engine(engine: Engine[Any]) -> None:
    """Make `engine` the one that Tables talk to, for the rest of this task."""
    _engine.set(engine)


class _CurrentEngine:
    """Stands in for the engine at every Table; each access goes to the engine of the running task."""

    # Piccolo checks with isinstance what it is given.
    __class__ = Engine  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        engine = _engine.get()
        if engine is None:
            raise RuntimeError(
                "no database is in use here: query Tables inside of a request, a hook or "
                "`async with open_container(…)`, or call container.database.use() first"
            )
        return getattr(engine, name)


CURRENT_ENGINE = cast("Engine[Any]", _CurrentEngine())
"""Given to Tables as their `db`. It is no client: it holds nothing but the name of a context variable."""
