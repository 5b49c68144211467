"""Models under fire: requests made from the service's own OpenAPI document never cause a server error."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from domain.models import FunctionalModelRunner
from service.settings import Settings
from tests.service.api.model_service import ARTIFACTS, CONFIGS, ML, builder, predict, train
from tests.service.api.test_fuzz import fuzzed, in_a_thread

MODELS = "/api/v1/models"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service around a model, without checks of its own, which would cost a process for each request."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    settings = Settings(worker="false", storage_folder=folder / "storage", temporary_folder=folder / "scratch")
    app = builder(f"sqlite:///{folder / 'model.db'}", FunctionalModelRunner(train, predict)).build(settings)
    with in_a_thread(app) as url:
        yield url


def test_no_request_causes_a_server_error(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        known = {
            CONFIGS: client.post(CONFIGS, json={"name": "there", "data": {}}).json()["id"],
            ARTIFACTS: client.post(ARTIFACTS, json={"data": {"content": {"a": 1}}}).json()["id"],
            ML: "none",
            MODELS: client.post(MODELS, json={"name": "there"}).json()["name"],
        }
    assert fuzzed(url, known) >= 45
