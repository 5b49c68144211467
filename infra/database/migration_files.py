"""The files of migrations: how they are written, and what is in them."""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.errors import Misconfigured
from infra.database.piccolo_environment import MigrationApp, asking, config_of, piccolo_environment


async def new(
    app: MigrationApp,
    apps: Sequence[MigrationApp],
    *,
    description: str,
    is_empty: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> Path | None:
    """Write a migration for the difference between the declared tables and the migrations so far.

    Returns its file, or None when there is no difference. Needs no database. `ask` answers whether a name that went
    and one that came are the same thing; without it that question is a `Misconfigured`.
    """
    # It brings a formatter of Python code along, and templates: a service that runs has no use for them.
    from piccolo.apps.migrations.commands.new import NoChanges, _create_new_migration

    directory = app.directory
    if directory is None:
        raise Misconfigured("name a folder: with_database(migrations=…)")
    is_first = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".written").touch()
        (directory / ".written").unlink()
    except OSError as error:
        raise Misconfigured(f"cannot write into {directory}: {error.strerror}") from error
    # Piccolo puts it between single quotes as it is.
    description = " ".join(description.split()).replace("\\", "\\\\").replace("'", "\\'")
    try:
        async with piccolo_environment(apps):
            with asking(ask), contextlib.redirect_stdout(io.StringIO()):
                meta = await _create_new_migration(config_of(app), auto=not is_empty, description=description)
    except NoChanges:
        return None
    finally:
        if is_first and not any(directory.iterdir()):
            directory.rmdir()
    return Path(meta.migration_path)


def modules_of(app: MigrationApp) -> dict[str, ModuleType]:
    """The migrations of an app by id, oldest first."""
    if app.directory is None:
        return {}
    found: dict[str, ModuleType] = {}
    for file in sorted(app.directory.glob("*.py")):
        if file.name == "__init__.py":
            continue
        # By path, under a name of its own: two services may well have a file of the same name.
        spec = importlib.util.spec_from_file_location(f"millrace_migration_{app.name}_{file.stem}", file)
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if isinstance(id := getattr(module, "ID", None), str):
            found[id] = module
    return dict(sorted(found.items()))


async def manager_of(module: ModuleType) -> MigrationManager:
    """What a migration wants to be done. Raises `Misconfigured` when it does not say."""
    made = await module.forwards()
    if not isinstance(made, MigrationManager):
        raise Misconfigured(
            f"migration {module.ID} does not return a MigrationManager: give the manager what is to be done "
            "(add_raw, add_raw_backwards) and return it"
        )
    return made


def description_of(module: ModuleType) -> str:
    """What a migration is for, in the words of who wrote it."""
    return str(getattr(module, "DESCRIPTION", "") or "")
