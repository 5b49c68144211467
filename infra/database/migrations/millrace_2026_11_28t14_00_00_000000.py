from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import Varchar
from piccolo.columns.indexes import IndexMethod

ID = "2026-11-28T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the trace that a job is part of"


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="millrace", description=DESCRIPTION)
    manager.add_column(
        table_class_name="Jobs",
        tablename="millrace_jobs",
        column_name="traceparent",
        db_column_name="traceparent",
        column_class_name="Varchar",
        column_class=Varchar,
        params={
            "length": 55,
            "default": None,
            "null": True,
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
    return manager
