"""What services of the kind that is replaced were recorded to answer is what ours answers."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.house.pages import ROOT
from tests.service.api.exchanges import SAMPLES, Player, Sample, sample
from tests.service.api.jobs_service import staged
from tests.service.api.recorded_services import BUILDERS, configs_and_artifacts


@pytest.mark.parametrize("name", BUILDERS)
async def test_recorded_requests_are_answered_as_they_were(name: str, database_url: str, tmp_path: Path) -> None:
    folders = {"storage_folder": tmp_path / "storage", "temporary_folder": tmp_path / "scratch"}
    async with staged(database_url, None, BUILDERS[name], **folders) as stage:
        player = Player(sample(name), stage.client)
        await player.play()
        assert player.wrong == []


def test_every_sample_is_played_and_every_difference_has_its_row() -> None:
    assert {path.name for path in SAMPLES.glob("*.json")} == set(BUILDERS)
    page = (ROOT / "docs" / "compatibility.md").read_text()
    rows = set(re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE))
    for name in BUILDERS:
        assert sample(name).reasons - rows == set(), name


def recorded(**more: Any) -> dict[str, Any]:
    """A new configuration as another service may have answered."""
    reply = {"id": "01M82S8S5KFYZ1PXP6J6KKEZ9X", "created_at": "2026-11-22T23:25:40", "name": "c", "tags": ["a"]}
    return {
        "name": "made",
        "request": {"method": "POST", "path": "/api/v1/configs", "json": {"name": "c", "data": {}, "tags": ["a"]}},
        "status": 201,
        "headers": {"location": f"http://other/api/v1/configs/{reply['id']}"},
        "body": reply,
        **more,
    }


MORE = [{"members": ["updated_at", "data"], "because": "-"}]
READ = {
    "name": "read",
    "request": {"method": "GET", "path": "/api/v1/configs/01m82s8s5kfyz1pxp6j6kkez9x"},
    "status": 200,
    "body": recorded()["body"],
    "until": {"name": "c"},
}


@pytest.mark.parametrize(
    "exchanges, more, wrong",
    [
        ([recorded(), READ], MORE, []),
        ([recorded(status=200)], MORE, ["made: status: 200 -> 201"]),
        ([recorded(status=200, differs=[{"at": "status", "here": 201, "because": "-"}])], MORE, []),
        (
            [recorded(headers={"content-type": "text/plain"})],
            MORE,
            ["made: content-type: 'text/plain' -> 'application/json'"],
        ),
        ([recorded(differs=[{"at": "/tags/0", "here": "b", "because": "-"}])], MORE, ["made: /tags/0: 'b' -> 'a'"]),
        ([recorded(differs=[{"at": "/tags", "because": "-"}])], MORE, ["made: /tags: '(nothing)' -> ['a']"]),
        ([recorded()], [{"members": ["data"], "because": "-"}], ["made: /updated_at: "]),
    ],
)
async def test_a_reply_that_differs_is_told(
    exchanges: list[Any], more: list[Any], wrong: list[str], sqlite_url: str, tmp_path: Path
) -> None:
    folders = {"storage_folder": tmp_path / "storage", "temporary_folder": tmp_path / "scratch"}
    given = {"about": "", "host": "http://other", "more": more, "exchanges": exchanges}
    async with staged(sqlite_url, None, configs_and_artifacts, **folders) as stage:
        player = Player(msgspec.convert(given, Sample), stage.client)
        await player.play()
    assert bool(player.wrong) == bool(wrong)
    assert all(found.startswith(start) for found, start in zip(player.wrong, wrong, strict=False)), player.wrong


async def test_a_request_is_repeated_until_the_reply_is_the_one_that_is_waited_for(
    sqlite_url: str, tmp_path: Path
) -> None:
    folders = {"storage_folder": tmp_path / "storage", "temporary_folder": tmp_path / "scratch"}
    late = {**READ, "until": {"name": "late"}, "body": {**recorded()["body"], "name": "late"}}
    given = {"about": "", "host": "http://other", "more": MORE, "exchanges": [recorded(), late]}
    async with staged(sqlite_url, None, configs_and_artifacts, **folders) as stage:
        player = Player(msgspec.convert(given, Sample), stage.client)

        async def rename() -> None:
            while not (found := await stage.get("/api/v1/configs")):
                pass
            await stage.client.patch(f"/api/v1/configs/{found[0]['id']}", json={"name": "late"})

        await asyncio.gather(player.play(), rename())
    assert player.wrong == []
