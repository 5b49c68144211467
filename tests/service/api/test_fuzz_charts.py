"""Charts under fire: requests made from the service's own OpenAPI document never cause a server error."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis

from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.settings import Settings
from tests.service.api.test_fuzz import fuzz, in_a_thread

FRAME = {"columns": ["time_period", "location", "sample_0"], "data": [["2024-01", "a", 1], ["2024-02", "a", 2]]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    made = (
        ServiceBuilder(info=ServiceInfo(id="fuzz", display_name="Fuzz"))
        .with_database(f"sqlite:///{folder / 'fuzz.db'}")
        .with_artifacts()
        .with_charts()
    )
    with in_a_thread(made.build(Settings(storage_folder=folder / "storage"))) as url:
        yield url


def test_no_request_causes_a_server_error(url: str) -> None:
    data = {"type": "ml_prediction", "content": FRAME, "content_type": "application/vnd.chapkit.dataframe+json"}
    id = httpx.post(f"{url}/api/v1/artifacts", json={"data": data}).json()["id"]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", wait_for_schema=20)
    operations = [result.ok() for result in schema.get_all_operations()]
    chosen = [one for one in operations if one.path.endswith("/$chart") or "/visualizations/" in one.path]
    assert sorted(one.method for one in chosen) == ["get", "post", "post", "post"]
    for operation in chosen:
        fuzz(operation, id)
