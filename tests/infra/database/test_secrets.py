"""A secret is made once and shared by all who use the database."""

import asyncio

from infra.database.current import use_engine
from infra.database.schema import synchronize
from infra.database.secrets import Secrets, shared_secret
from tests.infra.database.engines import opened


async def test_everyone_gets_the_same_secret(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as other:
        use_engine(one)
        await synchronize(one, [Secrets])
        made = await asyncio.gather(*(shared_secret(engine, "cursors") for engine in (one, other) for _ in range(8)))
        assert len(set(made)) == 1
        assert len(made[0]) == 32
        assert await shared_secret(one, "else") != made[0]
    async with opened(database_url) as later:
        assert await shared_secret(later, "cursors") == made[0]
