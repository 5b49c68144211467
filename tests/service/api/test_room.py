"""A queue that is full says so to clients, and takes on more as soon as there is room again."""

from service.builder import ServiceBuilder
from tests.service.api.jobs_service import JOBS, builder, staged

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
