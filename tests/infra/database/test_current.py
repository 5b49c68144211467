"""One Table serves several apps: each task talks to the engine in use."""

import asyncio

import pytest
from piccolo.engine.base import Engine

from infra.database.current import CURRENT_ENGINE, use_engine
from tests.infra.database.engines import opened
from tests.sample import Items


async def test_each_task_has_the_engine_it_uses() -> None:
    async with opened("sqlite:///:memory:") as one, opened("sqlite:///:memory:") as other:
        met = asyncio.Barrier(2)

        async def work(engine: Engine, rows: int) -> int:  # type: ignore[type-arg]
            use_engine(engine)
            await met.wait()
            await Items.create_table()
            await Items.insert(*(Items(name=str(number)) for number in range(rows)))
            return await Items.count()

        assert await asyncio.gather(work(one, 1), work(other, 2)) == [1, 2]


async def test_a_table_in_use_nowhere_says_what_to_do() -> None:
    async def work() -> None:
        use_engine(None)  # type: ignore[arg-type]
        await Items.count()

    with pytest.raises(RuntimeError, match="no database is in use here"):
        await asyncio.create_task(work())
    assert isinstance(CURRENT_ENGINE, Engine)
