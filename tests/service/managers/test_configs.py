"""Configurations: what is sent takes effect and comes back, whichever way it is sent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidBody
from tests.service.managers.kept import Kept, Options, opened


@pytest.fixture
async def kept(database_url: str, tmp_path: Path) -> AsyncIterator[Kept]:
    async with opened(database_url, tmp_path) as kept:
        yield kept


@pytest.mark.parametrize(
    "data, sent, lags",
    [
        ({"n_lags": 9}, {"n_lags": 9}, 9),
        ({"n-lags": 9}, {"n-lags": 9}, 9),
        ({"user_option_values": {"n_lags": 9, "depth": {"a": 1}}}, {"n_lags": 9, "depth": {"a": 1}}, 9),
        ({"depth": 5}, {"n-lags": 7, "depth": 5}, 7),
    ],
)
async def test_a_patch_takes_effect_and_comes_back(
    kept: Kept, data: dict[str, Any], sent: dict[str, Any], lags: int
) -> None:
    config = await kept.configs.create({"name": "c", "data": {"n-lags": 7}})
    await kept.configs.patch(config.id, {"data": data})
    found = await kept.configs.get(config.id)
    assert {name: found.data[name] for name in sent} == sent
    typed = kept.configs.schema.typed(found.data)
    assert isinstance(typed, Options)
    assert typed.n_lags == lags


async def test_a_patch_that_the_author_refuses_is_named_where_it_was_sent(kept: Kept) -> None:
    config = await kept.configs.create({"name": "c", "data": {"n-lags": 7}})
    with pytest.raises(InvalidBody) as caught:
        await kept.configs.patch(config.id, {"data": {"n_lags": "many"}})
    [error] = caught.value.errors
    assert error.loc == ("body", "data", "n_lags")
    assert (await kept.configs.get(config.id)).data["n-lags"] == 7
    with pytest.raises(InvalidBody):
        await kept.configs.patch(config.id, {"data": 5})
