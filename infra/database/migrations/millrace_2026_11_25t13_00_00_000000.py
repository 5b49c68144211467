from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import Integer
from piccolo.columns.indexes import IndexMethod

from infra.database.jobs.tables import Jobs

ID = "2026-11-25T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "processes of workers, and more indexes of jobs"

INDEXES = {
    "millrace_jobs_status": "ON millrace_jobs (status, id)",
    "millrace_jobs_active_of_schedule": (
        "ON millrace_jobs (schedule_id) WHERE status IN ('pending', 'running') AND schedule_id IS NOT NULL"
    ),
}


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="millrace", description=DESCRIPTION)
    for name, default in {"processes": 1, "busy_processes": 0}.items():
        manager.add_column(
            table_class_name="Workers",
            tablename="millrace_workers",
            column_name=name,
            db_column_name=name,
            column_class_name="Integer",
            column_class=Integer,
            params={
                "default": default,
                "null": False,
                "primary_key": False,
                "unique": False,
                "index": False,
                "index_method": IndexMethod.btree,
                "choices": None,
                "db_column_name": None,
                "secret": False,
            },
            schema=None,
        )

    async def create():
        for name, definition in INDEXES.items():
            await Jobs.raw(f"CREATE INDEX {name} {definition}")

    async def drop():
        for name in INDEXES:
            await Jobs.raw(f"DROP INDEX {name}")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
