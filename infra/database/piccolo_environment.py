"""What Piccolo's migrations expect around them: modules that name engine and apps, answers, a place to print."""

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from piccolo.apps.migrations.auto import schema_differ
from piccolo.apps.migrations.tables import Migration
from piccolo.table import Table

from domain.errors import Misconfigured
from infra.database.current import CURRENT_ENGINE
from infra.database.piccolo_apps import AppConfig, AppRegistry

_CONF = "millrace_piccolo_conf"


class MigrationApp(msgspec.Struct, frozen=True, kw_only=True):
    """Tables that migrate together. `directory` None: they are created and extended as declared, without files.

    The database counts the changes of those that are `watched`.
    """

    name: str
    tables: tuple[type[Table], ...]
    directory: Path | None = None
    watched: tuple[type[Table], ...] = ()


@asynccontextmanager
async def piccolo_environment(apps: Sequence[MigrationApp]) -> AsyncIterator[None]:
    """Piccolo finds engine and apps through modules that an environment variable names; they exist for the block."""
    # These belong to the whole process, as does the standard output: its apps take turns.
    while _CONF in sys.modules:  # noqa: ASYNC110 - the other app may run in a loop of its own
        await asyncio.sleep(0.01)
    modules = {f"millrace_piccolo_app_{app.name.replace('-', '_')}": app for app in apps}
    for name, app in modules.items():
        sys.modules[name] = module = ModuleType(name)
        module.APP_CONFIG = config_of(app)  # type: ignore[attr-defined]
    conf = ModuleType(_CONF)
    sys.modules[_CONF] = conf
    before = os.environ.get("PICCOLO_CONF")
    os.environ["PICCOLO_CONF"] = _CONF
    try:
        conf.DB = CURRENT_ENGINE  # type: ignore[attr-defined]
        conf.APP_REGISTRY = AppRegistry(apps=list(modules))  # type: ignore[attr-defined]
        Migration._meta.db = CURRENT_ENGINE
        yield
    finally:
        for name in (*modules, _CONF):
            sys.modules.pop(name, None)
        if before is None:
            os.environ.pop("PICCOLO_CONF", None)
        else:
            os.environ["PICCOLO_CONF"] = before


def config_of(app: MigrationApp) -> AppConfig:
    return AppConfig(
        app_name=app.name, migrations_folder_path=str(app.directory or Path()), table_classes=list(app.tables)
    )


@contextmanager
def asking(ask: Callable[[str], bool] | None) -> Iterator[None]:
    """Piccolo asks with `input`, which would wait for ever where nobody can answer."""

    def answer(prompt: str) -> str:
        question = prompt.removesuffix(" (y/N)")
        if ask is None:
            raise Misconfigured(f"{question} Say it with --renamed or --not-renamed, or run this on a terminal")
        return "y" if ask(question) else "n"

    vars(schema_differ)["input"] = answer
    try:
        yield
    finally:
        del vars(schema_differ)["input"]


async def quietly(running: Any) -> str:
    """Piccolo prints what it does; that is returned instead."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        await running
    return printed.getvalue()
