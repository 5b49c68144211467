from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import Varchar
from piccolo.columns.indexes import IndexMethod

ID = "2026-11-23T05:09:07:836467"
VERSION = "1.38.0"
DESCRIPTION = "secrets"


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="millrace", description=DESCRIPTION)

    manager.add_table(
        class_name="Secrets",
        tablename="millrace_secrets",
        schema=None,
        columns=None,
    )

    manager.add_column(
        table_class_name="Secrets",
        tablename="millrace_secrets",
        column_name="name",
        db_column_name="name",
        column_class_name="Varchar",
        column_class=Varchar,
        params={
            "length": 100,
            "default": "",
            "null": False,
            "primary_key": True,
            "unique": False,
            "index": False,
            "index_method": IndexMethod.btree,
            "choices": None,
            "db_column_name": None,
            "secret": False,
        },
        schema=None,
    )

    manager.add_column(
        table_class_name="Secrets",
        tablename="millrace_secrets",
        column_name="value",
        db_column_name="value",
        column_class_name="Varchar",
        column_class=Varchar,
        params={
            "length": 200,
            "default": "",
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

    return manager
