"""Transformations under fire: requests made from the service's own OpenAPI document never cause a server error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.frames import DataFrame
from domain.registration import ServiceInfo
from domain.transformations import TransformationRouter
from service.builder import ServiceBuilder
from service.settings import Settings
from tests.service.api.test_fuzz import fuzzed, in_a_thread
from tests.service.api.transformations_service import TRANSFORMATIONS, VISITS, Length, Means, Visits


class SameFrame(TransformationRouter):
    """Gives back what it is given."""

    def transform(self, data: DataFrame, params: Means) -> DataFrame:
        return data


class Same(TransformationRouter):
    """Gives back what it is given."""

    def transform(self, data: Any, params: Means) -> Any:
        return {"data": data, "params": params}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    made = (
        ServiceBuilder(info=ServiceInfo(id="fuzz", display_name="Fuzz"))
        .with_database(f"sqlite:///{folder / 'fuzz.db'}")
        .with_crud(VISITS, table=Visits)
        .with_artifacts()
        .with_transformations(SameFrame, Same, Length)
    )
    with in_a_thread(made.build(Settings(storage_folder=folder / "storage"))) as url:
        yield url


def test_no_request_causes_a_server_error(url: str) -> None:
    assert fuzzed(url, {TRANSFORMATIONS: "same"}) == 10
