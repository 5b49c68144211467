from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from infra.database.model_versions import Models

ID = "2026-11-28T10:00:01:000000"
VERSION = "1.38.0"
DESCRIPTION = "indexes of versions and aliases"

# By these, versions have numbers of their own, and an alias points to one thing at a time.
UNIQUE_INDEXES = {
    "millrace_model_versions_number": "ON millrace_model_versions (model_id, number)",
    "millrace_alias_moves_at": "ON millrace_alias_moves (model_id, alias, at)",
}


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="millrace", description=DESCRIPTION)

    async def create():
        for name, definition in UNIQUE_INDEXES.items():
            await Models.raw(f"CREATE UNIQUE INDEX {name} {definition}")

    async def drop():
        for name in UNIQUE_INDEXES:
            await Models.raw(f"DROP INDEX {name}")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
