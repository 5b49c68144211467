"""Jobs that are submitted with an `Idempotency-Key`: each is there once, and is begun as soon as without one."""

import asyncio
import time
from collections import Counter
from typing import Any
from uuid import uuid4

from tests.service.api.jobs_service import GRAPHS, JOBS, SCHEDULES, TASKS, Stage, opened

KEY = "Idempotency-Key"


def keyed() -> dict[str, dict[str, str]]:
    """The headers with a new key."""
    return {"headers": {KEY: uuid4().hex}}


async def test_a_task_that_is_executed_again_has_one_job(stage: Stage) -> None:
    key = keyed()
    first = await stage.post(f"{TASKS}/hold/$execute", {"args": {"name": "keyed"}, "label": key["headers"][KEY]}, **key)
    for _ in range(2):
        again = await stage.client.post(
            f"{TASKS}/hold/$execute", json={"args": {"name": "keyed"}, "label": key["headers"][KEY]}, **key
        )
        assert again.json() == first
        assert again.headers["location"] == f"{stage.url}{JOBS}/{first['job_id']}"
        assert again.headers["idempotency-replayed"] == "true"
    [job] = await stage.get(JOBS, params={"label": key["headers"][KEY]})
    assert job["id"] == first["job_id"]
    with opened("keyed"):
        await stage.reach(job["id"], "completed")


async def test_many_who_execute_at_once_have_one_job(stage: Stage) -> None:
    key, label = keyed(), uuid4().hex
    body = {"args": {"first": 1}, "label": label}
    replies = await asyncio.gather(*(stage.client.post(f"{TASKS}/add/$execute", json=body, **key) for _ in range(10)))
    found = Counter(reply.status_code for reply in replies)
    assert found.keys() <= {202, 409}
    [job] = await stage.get(JOBS, params={"label": label})
    assert {reply.json()["job_id"] for reply in replies if reply.status_code == 202} == {job["id"]}
    assert (await stage.post(f"{TASKS}/add/$execute", body, **key))["job_id"] == job["id"]
    await stage.reach(job["id"], "completed")


async def test_workers_hear_of_a_job_when_it_is_committed(stage: Stage) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        made = await stage.post(f"{TASKS}/nothing/$execute", **keyed())
        await stage.reach(made["job_id"], "completed")
        took.append(time.monotonic() - began)
    # Who rings before the commit is heard by nobody, and the job waits until a worker looks by itself, each second.
    assert min(took) < 0.5
    assert sorted(took)[2] < 0.7


async def test_a_graph_and_a_trigger_are_there_once(stage: Stage) -> None:
    key, label = keyed(), uuid4().hex
    body = {"label": label, "nodes": {"a": {"task": "nothing"}, "b": {"task": "nothing", "depends_on": ["a"]}}}
    graphs = [await stage.post(GRAPHS, body, **key) for _ in range(2)]
    assert graphs[0] == graphs[1]
    [graph] = await stage.get(GRAPHS, params={"label": label})
    assert graph["id"] == graphs[0]["id"]

    schedule = await stage.post(
        SCHEDULES, {"name": label, "task": "nothing", "cron": "0 0 1 1 *"}, status=201, **keyed()
    )
    key = keyed()
    triggered: list[Any] = [await stage.post(f"{SCHEDULES}/{schedule['id']}/$trigger", **key) for _ in range(2)]
    assert triggered[0] == triggered[1]
    [job] = await stage.get(JOBS, params={"schedule_id": schedule["id"]})
    await stage.reach(job["id"], "completed")


async def test_a_job_that_is_refused_is_not_there(stage: Stage) -> None:
    key, label = keyed(), uuid4().hex
    for _ in range(2):
        reply = await stage.client.post(f"{TASKS}/add/$execute", json={"args": {"first": "x"}, "label": label}, **key)
        assert reply.status_code == 422
    assert reply.headers["idempotency-replayed"] == "true"
    assert await stage.get(JOBS, params={"label": label}) == []
