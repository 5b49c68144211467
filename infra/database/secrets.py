"""Secrets that all replicas of a service share, kept in its database."""

import secrets

from piccolo.columns import Varchar
from piccolo.table import Table

from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine


class Secrets(Table, tablename="millrace_secrets", db=CURRENT_ENGINE):
    """One row per purpose."""

    name = Varchar(length=100, primary_key=True)
    value = Varchar(length=200)


async def shared_secret(engine: DatabaseEngine, name: str) -> bytes:
    """The secret of this name; the first process that asks makes it, all others get the same."""
    one, two = engine.dialect.placeholder(1), engine.dialect.placeholder(2)
    table = Secrets._meta.get_formatted_tablename()
    find = f'SELECT "value" FROM {table} WHERE "name" = {one}'
    rows = await engine.fetch(find, name)
    if not rows:
        await engine.execute(
            f'INSERT INTO {table} ("name", "value") VALUES ({one}, {two}) ON CONFLICT ("name") DO NOTHING',
            name,
            secrets.token_hex(32),
        )
        rows = await engine.fetch(find, name)
    return bytes.fromhex(rows[0][0])
