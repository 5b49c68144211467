"""Tasks over HTTP: what there is to run, and a door that lets in only what can run."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import pytest

from tests.service.api.jobs_service import HEAVY, JOBS, LIGHT, TASKS, Stage, eventually, opened

EXECUTE = f"{TASKS}/add/$execute"


# What there is


async def test_tasks_are_listed_with_what_they_take(stage: Stage) -> None:
    tasks = {task["name"]: task for task in await stage.get(TASKS)}
    assert list(tasks) == [task.kind for task in (*LIGHT, *HEAVY)]
    assert tasks["linger"] == {
        "name": "linger",
        "description": "Wait for a gate in a queue of its own.",
        "queue": "slow",
        "priority": 7,
        "retries": 3,
        "timeout_seconds": 600.0,
        "is_process": False,
        "args": {
            "title": "Gate",
            "description": "Something that is waited for by its name.",
            "type": "object",
            "properties": {"name": {"type": "string", "default": "never"}},
            "required": [],
            "additionalProperties": False,
        },
    }
    assert tasks["add"]["args"]["required"] == ["first"]
    assert tasks["add"]["args"]["properties"]["second"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 1000,
        "default": 1,
    }
    assert tasks["nothing"]["args"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert (tasks["chatter"]["is_process"], tasks["nothing"]["timeout_seconds"]) == (True, None)
    assert await stage.get(f"{TASKS}/add") == tasks["add"]


@pytest.mark.parametrize("method, path", [("GET", "/ad"), ("POST", "/ad/$execute")])
async def test_who_mistypes_a_task_is_told_which_it_may_have_been(stage: Stage, method: str, path: str) -> None:
    reply = await stage.client.request(method, TASKS + path)
    assert (reply.status_code, reply.json()["detail"]) == (404, 'There is no task "ad"; did you mean "add"?')
    reply = await stage.client.request(method, f"{TASKS}/zzz{path.removeprefix('/ad')}")
    assert reply.json()["detail"].startswith('There is no task "zzz"; there are: add, echo, nothing, ')


async def test_parameters_are_refused(stage: Stage) -> None:
    for method, path in (("GET", ""), ("GET", "/add"), ("POST", "/add/$execute")):
        reply = await stage.client.request(method, TASKS + path, params={"colour": "red"})
        assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (400, ["query", "colour"])


# Running one


async def test_a_task_is_accepted_and_runs(stage: Stage) -> None:
    reply = await stage.client.post(EXECUTE, json={"args": {"first": 2, "second": 3}})
    id = reply.json()["job_id"]
    assert reply.status_code == 202
    assert reply.json() == {
        "job_id": id,
        "status": "pending",
        "message": f"Job submitted. Job ID: {id}",
        "is_duplicate": False,
    }
    assert reply.headers["location"] == f"{stage.url}{JOBS}/{id}"
    job = await stage.reach(id, "completed")
    assert await stage.get(reply.headers["location"]) == job
    assert (job["kind"], job["args"]) == ("add", {"first": 2, "second": 3})
    assert await stage.get(f"{JOBS}/{id}/$result") == 5


async def test_a_task_without_arguments_needs_no_body(stage: Stage) -> None:
    bodies: tuple[Any, ...] = (None, {}, {"args": {}})
    for body in bodies:
        id = (await stage.post(f"{TASKS}/nothing/$execute", body))["job_id"]
        await stage.reach(id, "completed")


async def test_arguments_are_stored_with_their_defaults(stage: Stage) -> None:
    job = await stage.run("add", {"first": -1})
    assert (job["args"], await stage.get(f"{JOBS}/{job['id']}/$result")) == ({"first": -1, "second": 1}, 0)


async def test_a_submission_overrides_what_the_task_declares(stage: Stage) -> None:
    more = {
        "label": "nightly",
        "tags": ["a", "b"],
        "priority": -5,
        "queue": "elsewhere",
        "timeout_seconds": 1.5,
        "concurrency_key": "c",
        "unique_key": "u",
    }
    job = await stage.job(await stage.submit("linger", **more))
    assert {name: job[name] for name in more} == more
    plain = await stage.job(await stage.submit("linger", delay_seconds=600))
    assert [plain[name] for name in ("label", "tags", "priority", "queue", "timeout_seconds")] == [
        None,
        [],
        7,
        "slow",
        600.0,
    ]
    assert (plain["max_attempts"], plain["retry_policy"]["retries"]) == (4, 3)
    await stage.delete(f"{JOBS}/{job['id']}")


async def test_jobs_of_higher_priority_run_first(stage: Stage) -> None:
    # While they wait for their key nobody starts them.
    holder = await stage.submit("hold", {"name": "turn"}, concurrency_key="turn")
    await stage.reach(holder, "running")
    ids = {
        priority: await stage.submit("nothing", concurrency_key="turn", priority=priority) for priority in (0, -5, 9, 3)
    }
    with opened("turn"):
        jobs = {priority: await stage.reach(id, "completed") for priority, id in ids.items()}
    events = [(await stage.get(f"{JOBS}/{job['id']}/$events"))[-1]["sequence"] for job in jobs.values()]
    assert [priority for _, priority in sorted(zip(events, jobs, strict=True))] == [9, 3, 0, -5]


async def test_of_a_concurrency_key_one_job_runs_at_a_time(stage: Stage) -> None:
    first, second = [await stage.submit("hold", {"name": "key"}, concurrency_key="k") for _ in range(2)]
    await stage.reach(first, "running")
    assert (await stage.job(second))["state"] == "queued"
    await stage.run("nothing")
    assert (await stage.job(second))["state"] == "queued"
    with opened("key"):
        ended = [await stage.reach(id, "completed") for id in (first, second)]
    assert ended[0]["finished_at"] <= ended[1]["started_at"]


async def test_a_delay_and_a_time_are_waited_for(stage: Stage) -> None:
    delayed = await stage.job(await stage.submit("nothing", delay_seconds=0.3))
    timed = await stage.job(await stage.submit("nothing", run_at="2030-01-02T03:04:05+02:00"))
    past = await stage.run("nothing", run_at="2020-01-01T00:00:00Z")
    assert (delayed["state"], timed["state"]) == ("scheduled", "scheduled")
    assert timed["run_at"] == "2030-01-02T01:04:05.000000Z"
    ended = await stage.reach(delayed["id"], "completed")
    assert ended["started_at"] >= ended["run_at"] > ended["submitted_at"]
    assert past["run_at"] == "2020-01-01T00:00:00.000000Z"
    await stage.delete(f"{JOBS}/{timed['id']}")


async def test_a_unique_key_lets_in_one_unfinished_job(stage: Stage) -> None:
    replies = await asyncio.gather(
        *(stage.post(f"{TASKS}/once/$execute", {"args": {"name": "unique"}}) for _ in range(8))
    )
    assert len({reply["job_id"] for reply in replies}) == 1
    assert sorted(reply["is_duplicate"] for reply in replies) == [False] + [True] * 7
    [id] = {reply["job_id"] for reply in replies}
    duplicate = next(reply for reply in replies if reply["is_duplicate"])
    assert duplicate["message"] == f"This job is there already. Job ID: {id}"
    other = await stage.submit("once", {"name": "other"})
    assert other != id
    with opened("unique", "other"):
        await stage.reach(id, "completed")
        await stage.reach(other, "completed")
        assert await stage.submit("once", {"name": "unique"}) != id


async def test_a_ring_wakes_the_worker_long_before_it_would_look(stage: Stage) -> None:
    # A worker that is idle looks once a second.
    delays = []
    for _ in range(10):
        job = await stage.run("nothing")
        events = await stage.get(f"{JOBS}/{job['id']}/$events")
        delays.append(await seconds_between(stage, events[0]["sequence"], events[1]["sequence"]))
    assert sorted(delays)[5] < 0.25


async def seconds_between(stage: Stage, first: int, second: int) -> float:
    """The seconds between two events, by the database's clock."""
    rows = await stage.engine.fetch(f"SELECT at FROM millrace_job_events WHERE id IN ({first}, {second}) ORDER BY id")
    begin, end = (datetime.fromisoformat(str(at)) for (at,) in rows)
    return (end - begin).total_seconds()


# What is refused


async def count(stage: Stage) -> int:
    """How many jobs there are."""
    return int((await stage.get(f"{JOBS}/$stats"))["total"])


WRONG: list[tuple[Any, list[str]]] = [
    ({}, ["/args/first"]),
    ({"args": {"first": "1"}}, ["/args/first"]),
    ({"args": {"first": 1.5, "second": 1_001, "third": 3}}, ["/args/first", "/args/second", "/args/third"]),
    ({"args": {"first": None}}, ["/args/first"]),
    ({"args": [1]}, ["/args"]),
    ({"args": None}, ["/args"]),
    ({"args": {"first": {"$ref": "other"}}}, ["/args"]),
    ({"args": {"first": 1}, "prio": 1, "run_att": "x"}, ["/prio", "/run_att"]),
    ({"args": {"first": 1}, "priority": 1_001}, ["/priority"]),
    ({"args": {"first": 1}, "priority": 1.5}, ["/priority"]),
    ({"args": {"first": 1}, "queue": "a b"}, ["/queue"]),
    ({"args": {"first": 1}, "queue": ""}, ["/queue"]),
    ({"args": {"first": 1}, "queue": "q" * 101}, ["/queue"]),
    ({"args": {"first": 1}, "queue": "q\n"}, ["/queue"]),
    ({"args": {"first": 1}, "label": "l" * 201}, ["/label"]),
    ({"args": {"first": 1}, "label": "nul\0"}, ["/label"]),
    ({"args": {"first": 1}, "tags": ["a b"]}, ["/tags/0"]),
    ({"args": {"first": 1}, "tags": ["a"] * 51}, ["/tags"]),
    ({"args": {"first": 1}, "unique_key": ""}, ["/unique_key"]),
    ({"args": {"first": 1}, "concurrency_key": "k" * 201}, ["/concurrency_key"]),
    ({"args": {"first": 1}, "timeout_seconds": 0}, ["/timeout_seconds"]),
    ({"args": {"first": 1}, "timeout_seconds": 1e9}, ["/timeout_seconds"]),
    ({"args": {"first": 1}, "delay_seconds": -0.1}, ["/delay_seconds"]),
    ({"args": {"first": 1}, "delay_seconds": 1e9}, ["/delay_seconds"]),
    ({"args": {"first": 1}, "run_at": "tomorrow"}, ["/run_at"]),
    ({"args": {"first": 1}, "run_at": "2030-01-01T00:00:00"}, ["/run_at"]),
    ({"args": {"first": 1}, "run_at": "0001-01-01T00:00:00+14:00"}, ["/run_at"]),
    ({"args": {"first": 1}, "run_at": "9999-12-31T23:00:00-05:00"}, ["/run_at"]),
    ({"args": {"first": 1}, "run_at": "2030-01-01T00:00:00Z", "delay_seconds": 1}, ["/delay_seconds"]),
    ([], [""]),
    ("x", [""]),
    (None, [""]),
]


async def test_what_cannot_run_is_refused_with_every_wrong_field(stage: Stage) -> None:
    before = await count(stage)
    for body, pointers in WRONG:
        headers = {"content-type": "application/json"}
        reply = await stage.client.post(EXECUTE, content=msgspec.json.encode(body), headers=headers)
        problem = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json"), body
        assert (problem["type"], problem["instance"]) == ("urn:servicekit:error:validation-failed", EXECUTE)
        assert sorted(error["pointer"] for error in problem["errors"]) == pointers, body
        assert all(error["loc"][0] == "body" for error in problem["errors"])
    assert await count(stage) == before


RUBBISH: list[tuple[bytes, str, int, str]] = [
    (b'{"args": {"first": 1}', "application/json", 422, "truncated"),
    (b'{"args": {"first": 1}} {}', "application/json", 422, "trailing characters"),
    (b'{"args": {"first": \xff}}', "application/json", 422, "invalid"),
    (b'{"args": {"first": 1e999}}', "application/json", 422, "out of range"),
    (b'{"args": {"first": NaN}}', "application/json", 422, "invalid"),
    (b'{"label": "\\ud800"}', "application/json", 422, "truncated"),
    (b"[" * 100_000, "application/json", 422, "nests more than 100 levels"),
    (b'{"args":' * 101 + b"1" + b"}" * 101, "application/json", 422, "nests more than 100 levels"),
    (b"first=1", "application/x-www-form-urlencoded", 415, "application/x-www-form-urlencoded"),
    (b"<first>1</first>", "text/xml", 415, "text/xml"),
    (b'{"args": {"first": 1}}', "", 422, "Content-Type: application/json"),
    (b" ", "application/json", 422, "truncated"),
]


async def test_rubbish_is_a_problem_and_nothing_is_written(stage: Stage) -> None:
    before = await count(stage)
    for content, kind, status, words in RUBBISH:
        headers = {"content-type": kind} if kind else {}
        reply = await stage.client.post(EXECUTE, content=content, headers=headers)
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), words
        assert words in reply.json()["detail"]
    assert await count(stage) == before


async def test_a_body_that_is_far_too_large_is_refused(stage: Stage) -> None:
    headers = {"content-type": "application/json"}
    reply = await stage.client.post(EXECUTE, content=b'{"label": "' + b"x" * 11_000_000 + b'"}', headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (413, "application/problem+json")


async def test_large_arguments_arrive_whole(stage: Stage) -> None:
    value = ["x" * 1_000] * 900
    job = await stage.run("echo", {"value": value})
    assert await stage.get(f"{JOBS}/{job['id']}/$result") == value


async def test_a_result_beyond_the_limit_fails_its_job_and_says_so(stage: Stage) -> None:
    id = await stage.submit("echo", {"value": "x" * 1_048_575})
    job = await stage.reach(id, "failed")
    assert job["error"].startswith("ValueError: the result has 1048577 bytes of JSON and 1048576 are allowed")


@pytest.mark.parametrize("stage", ["alone"], indirect=True)
async def test_health_answers_at_once_while_jobs_burn_every_core(stage: Stage) -> None:
    ids = [await stage.submit("burn") for _ in range(2)]

    async def are_all_burning() -> bool:
        return all([(await stage.job(id))["progress"] for id in ids])

    await eventually(are_all_burning)
    loop, times = asyncio.get_running_loop(), []
    for _ in range(20):
        began = loop.time()
        assert (await stage.client.get("/health")).status_code == 200
        times.append(loop.time() - began)
    for id in ids:
        await stage.delete(f"{JOBS}/{id}")
    assert sorted(times)[10] < 0.1
