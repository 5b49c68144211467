"""What is full says so to clients, and takes on more as soon as there is room again."""

import pytest

from domain.configs import BaseConfig
from domain.errors import Misconfigured
from service.builder import ServiceBuilder
from tests.service.api.jobs_service import JOBS, builder, staged
from tests.service.api.model_service import CONFIGS

LATER = {"args": {"first": 1}, "delay_seconds": 3_600}
EXECUTE = "/api/v1/tasks/add/$execute"


def narrow(url: str) -> ServiceBuilder:
    return builder(url).with_jobs(max_waiting=3, grace_seconds=0)


async def test_no_more_jobs_are_taken_on_than_may_wait(database_url: str) -> None:
    async with staged(database_url, None, narrow) as stage:
        made = [await stage.post(EXECUTE, LATER) for _ in range(3)]
        reply = await stage.client.post(EXECUTE, json=LATER)
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "10")
        assert reply.json()["type"].endswith("too-many-requests")
        assert reply.json()["detail"] == "3 jobs wait, and at most 3 may: 1 more are too many; try again later"
        graph = {"nodes": {name: {"task": "add", "args": {"first": 1}} for name in "abcd"}}
        assert (await stage.client.post("/api/v1/graphs", json=graph)).status_code == 429
        assert len(await stage.get(JOBS)) == 3
        await stage.delete(f"{JOBS}/{made[0]['job_id']}")
        await stage.post(EXECUTE, LATER)
        assert (await stage.client.post(EXECUTE, json=LATER)).status_code == 429


async def test_no_more_configurations_are_kept_than_may_be(database_url: str) -> None:
    async with staged(database_url, None, lambda url: builder(url).with_config(BaseConfig, max_configs=2)) as stage:
        made = [await stage.post(CONFIGS, {"name": name, "data": {}}, status=201) for name in "ab"]
        problem = await stage.post(CONFIGS, {"name": "c", "data": {}}, status=409)
        assert problem["detail"] == "There are 2 configurations, and at most 2 may be: delete some"
        await stage.delete(f"{CONFIGS}/{made[0]['id']}")
        await stage.post(CONFIGS, {"name": "c", "data": {}}, status=201)
    with pytest.raises(Misconfigured, match=r"with_config\(max_configs=0\): at least 1"):
        builder(database_url).with_config(BaseConfig, max_configs=0)
