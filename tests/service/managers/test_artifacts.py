"""Artifacts: what is read is of one version, whoever changes it meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.errors import NotFound
from tests.service.managers.kept import Kept, opened


@pytest.fixture
async def kept(database_url: str, tmp_path: Path) -> AsyncIterator[Kept]:
    async with opened(database_url, tmp_path) as kept:
        yield kept


async def data(kept: Kept, id: str) -> Any:
    """The data of an artifact as clients see it."""
    return msgspec.json.decode((await kept.artifacts.document(id)).json)["data"]


async def test_what_is_read_while_it_is_changed_is_one_of_its_versions(kept: Kept) -> None:
    artifact = await kept.make(data={"content": {"n": 0}, "n": 0})
    is_over = asyncio.Event()

    async def change() -> None:
        for number in range(1, 40):
            values: Any = number if number % 2 else {"content": {"n": number}, "n": number}
            await kept.artifacts.patch(artifact.id, {"data": values})
        is_over.set()

    async def read() -> int:
        reads = 0
        while not is_over.is_set():
            found = await data(kept, artifact.id)
            assert isinstance(found, int) or found["content"]["n"] == found["n"]
            reads += 1
        return reads

    _, *reads = await asyncio.gather(change(), *(read() for _ in range(3)))
    assert all(reads)


async def test_a_row_whose_data_has_lost_its_content_is_shown_as_it_is(kept: Kept) -> None:
    artifact = await kept.make(data={"content": {"x": 1}})
    await kept.engine.execute("UPDATE millrace_artifacts SET data = '5'")
    assert await data(kept, artifact.id) == 5


async def test_what_belongs_to_a_configuration_is_listed_while_it_is_removed(kept: Kept) -> None:
    config = await kept.config()
    tops = [await kept.make() for _ in range(10)]
    for top in tops:
        await kept.configs.link(config, top.id)
    assert len(await kept.configs.linked(config)) == 10

    async def remove() -> None:
        for top in tops:
            await kept.artifacts.delete(top.id)

    async def look() -> list[int]:
        return [len(await kept.configs.linked(config)) for _ in range(20)]

    _, seen = await asyncio.gather(remove(), look())
    assert sorted(seen, reverse=True) == seen
    with pytest.raises(NotFound):
        await kept.artifacts.get(tops[0].id)
    assert await kept.configs.linked(config) == []
