"""What services of the kind that is replaced were recorded to answer is what ours answers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from domain.configs import BaseConfig
from domain.hierarchy import ArtifactHierarchy
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from tests.house.pages import ROOT
from tests.service.api.exchanges import SAMPLES, Player, sample
from tests.service.api.jobs_service import staged


class Inner(msgspec.Struct):
    alpha: float = 0.5


class Options(BaseConfig):
    """What the recorded service could be told."""

    n_lags: Annotated[int, Meta(ge=0)] = 2
    inner: Inner = msgspec.field(default_factory=Inner)
    slow: float = 0.0


def configs_and_artifacts(url: str) -> ServiceBuilder:
    """Configurations and artifacts as the recorded service had them."""
    return (
        ServiceBuilder(info=ServiceInfo(id="probe", display_name="Probe"))
        .with_database(url)
        .with_config(Options)
        .with_artifacts(ArtifactHierarchy("probe", {0: "train", 1: "predict"}), enable_config_linking=True)
    )


BUILDERS: dict[str, Callable[[str], ServiceBuilder]] = {"configs_and_artifacts.json": configs_and_artifacts}


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
