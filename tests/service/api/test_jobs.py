"""Jobs over HTTP, on both stages: what existing clients rely on to the letter, and all that goes beyond it."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from domain.jobs import NewJob
from tests.service.api.jobs_service import (
    ARTIFACT,
    GRAPHS,
    JOBS,
    TASKS,
    UNKNOWN,
    Stage,
    eventually,
    gates,
    opened,
)

# In the order in which existing clients have always got them.
CONTRACT = ["id", "status", "submitted_at", "started_at", "finished_at", "error", "error_traceback"]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
OPERATIONS = [
    ("GET", ""),
    ("DELETE", ""),
    *(("GET", f"/${verb}") for verb in ("stream", "why", "events", "logs", "result")),
    *(("POST", f"/${verb}") for verb in ("cancel", "retry")),
]


def moments(value: Any) -> list[str]:
    """Every text that looks like a moment, wherever it stands."""
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return [moment for member in members for moment in moments(member)]
    return [value] if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else []


# The contract


async def test_a_job_has_all_its_keys_in_every_state(stage: Stage) -> None:
    later = await stage.job(await stage.submit("add", {"first": 1}, delay_seconds=600))
    running = await stage.reach(await stage.submit("hold"), "running")
    completed = await stage.run("add", {"first": 1})
    failed = await stage.reach(await stage.submit("fail"), "failed")
    canceled = await stage.post(f"{JOBS}/{later['id']}/$cancel")
    await stage.delete(f"{JOBS}/{running['id']}")
    for job, status in zip(
        (later, running, completed, failed, canceled),
        ("pending", "running", "completed", "failed", "canceled"),
        strict=True,
    ):
        assert [name for name in job if name in CONTRACT] == CONTRACT
        assert (job["status"], job.keys()) == (status, completed.keys())
        assert all(MOMENT.fullmatch(moment) for moment in moments(job))
    assert (later["started_at"], later["finished_at"], later["error"], later["artifact_id"]) == (None,) * 4
    assert (running["finished_at"], running["started_at"] is not None) == (None, True)
    assert completed["submitted_at"] <= completed["started_at"] <= completed["finished_at"]
    assert (failed["error"], failed["error_traceback"].splitlines()[-1]) == ("ValueError: no luck",) * 2
    assert "Traceback (most recent call last):\n" in failed["error_traceback"]


async def test_the_list_is_a_bare_array_and_begins_with_the_newest(stage: Stage) -> None:
    ids = [(await stage.run("add", {"first": number}))["id"] for number in range(3)]
    listed = await stage.get(JOBS)
    assert [job["id"] for job in listed][:3] == ids[::-1]
    assert [job["id"] for job in listed] == sorted((job["id"] for job in listed), reverse=True)
    assert listed[0] == await stage.job(ids[-1])


async def test_a_list_can_be_had_for_each_status(stage: Stage) -> None:
    pending = await stage.submit("add", {"first": 1}, delay_seconds=600)
    running = await stage.submit("hold")
    await stage.reach(running, "running")
    completed = (await stage.run("nothing"))["id"]
    failed = await stage.submit("fail")
    await stage.reach(failed, "failed")
    found = {
        status: await stage.get(JOBS, params={"status_filter": status})
        for status in ("pending", "running", "completed", "failed", "canceled")
    }
    for status, id in (("pending", pending), ("running", running), ("completed", completed), ("failed", failed)):
        assert id in [job["id"] for job in found[status]]
    assert all(job["status"] == status for status, jobs in found.items() for job in jobs)
    first = await stage.get(JOBS, params={"status_filter": "completed", "page": 1, "size": 1})
    assert ([job["id"] for job in first["items"]], first["total"]) == ([completed], len(found["completed"]))
    await stage.delete(f"{JOBS}/{running}")


async def test_a_status_that_does_not_exist_is_refused(stage: Stage) -> None:
    reply = await stage.client.get(JOBS, params={"status_filter": "zzz"})
    body = reply.json()
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    assert (body["type"], body["title"]) == ("urn:servicekit:error:validation-failed", "Validation Error")
    [error] = body["errors"]
    assert (error["type"], error["loc"], error["input"]) == ("enum", ["query", "status_filter"], "zzz")
    assert error["allowed"] == ["pending", "running", "completed", "failed", "canceled"]


async def test_the_schema_is_that_of_the_list(stage: Stage) -> None:
    schema = await stage.get(f"{JOBS}/$schema")
    assert (schema["type"], schema["$schema"]) == ("array", "https://json-schema.org/draft/2020-12/schema")
    item = schema["$defs"][schema["items"]["$ref"].removeprefix("#/$defs/")]
    job = await stage.run("nothing")
    assert (item["type"], item["properties"].keys()) == ("object", job.keys())
    assert schema["$defs"]["JobStatus"]["enum"] == ["canceled", "completed", "failed", "pending", "running"]
    assert "status" in schema["x-query"]["filterable"]


async def test_a_job_that_does_not_exist_is_not_found(stage: Stage) -> None:
    for method, verb in OPERATIONS:
        reply = await stage.client.request(method, f"{JOBS}/{UNKNOWN}{verb}")
        body = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")
        assert body.pop("trace_id") == reply.headers["x-request-id"]
        assert body == {
            "type": "urn:servicekit:error:not-found",
            "title": "Resource Not Found",
            "status": 404,
            "detail": f"Job with id {UNKNOWN} not found",
            "instance": f"{JOBS}/{UNKNOWN}{verb}",
        }


async def test_what_is_no_id_is_refused(stage: Stage) -> None:
    for method, verb in OPERATIONS:
        reply = await stage.client.request(method, f"{JOBS}/zzz{verb}")
        body = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
        assert body.pop("trace_id") == reply.headers["x-request-id"]
        assert body == {
            "type": "urn:servicekit:error:invalid-ulid",
            "title": "Invalid ULID Format",
            "status": 400,
            "detail": "Invalid job ID format: zzz",
            "instance": f"{JOBS}/zzz{verb}",
        }


async def test_ids_are_taken_in_lower_case_too(stage: Stage) -> None:
    job = await stage.run("nothing")
    assert await stage.get(f"{JOBS}/{job['id'].lower()}") == job
    assert (await stage.get(f"{JOBS}/{job['id'].lower()}/$why"))["state"] == "completed"


# Deleting


async def test_a_job_that_waits_is_removed(stage: Stage) -> None:
    id = await stage.submit("add", {"first": 1}, delay_seconds=600)
    reply = await stage.client.delete(f"{JOBS}/{id}")
    assert (reply.status_code, reply.content) == (204, b"")
    await stage.get(f"{JOBS}/{id}", status=404)
    await stage.delete(f"{JOBS}/{id}", status=404)


async def test_a_job_that_has_ended_is_removed_with_all_that_is_known_of_it(stage: Stage) -> None:
    id = (await stage.run("recover"))["id"]
    await stage.delete(f"{JOBS}/{id}")
    await stage.get(f"{JOBS}/{id}", status=404)
    for table in ("millrace_job_events", "millrace_job_logs"):
        assert not await stage.engine.fetch(f"SELECT 1 FROM {table} WHERE job_id = '{id}'")


async def test_a_job_that_runs_in_the_loop_is_stopped_and_removed(stage: Stage) -> None:
    id = await stage.submit("hold", {"name": "deleted"})
    await stage.reach(id, "running")
    assert await waiters("deleted") == 1
    await stage.delete(f"{JOBS}/{id}")
    await stage.get(f"{JOBS}/{id}", status=404)

    async def is_alone() -> bool:
        return await waiters("deleted") == 0

    await eventually(is_alone)


async def waiters(name: str) -> int:
    """How many tasks wait for a gate."""
    return len(gates[name]._waiters)


@pytest.mark.parametrize("name", ["grind", "sulk"])
async def test_a_job_that_runs_in_a_process_is_killed_and_removed(stage: Stage, name: str) -> None:
    id = await stage.submit(name)
    pid = await process_of(stage, id)
    await stage.delete(f"{JOBS}/{id}")
    await stage.get(f"{JOBS}/{id}", status=404)
    await eventually(is_gone(pid))


async def process_of(stage: Stage, id: str) -> int:
    """The process of a job that tells."""

    async def told() -> int:
        progress = (await stage.job(id))["progress"]
        return int(progress["message"]) if progress else 0

    return int(await eventually(told))


def is_gone(pid: int) -> Callable[[], Awaitable[bool]]:
    """Whether there is no such process any more."""

    async def look() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    return look


async def test_what_depends_on_a_running_job_does_not_wait_for_it_once_it_is_removed(stage: Stage) -> None:
    nodes = {
        "first": {"task": "hold"},
        "after": {"task": "nothing", "depends_on": ["first"]},
        "anyway": {"task": "nothing", "depends_on": {"first": "always"}},
    }
    graph = await stage.post(GRAPHS, {"nodes": nodes})
    ids = {name: node["job_id"] for name, node in graph["nodes"].items()}
    await stage.reach(ids["first"], "running")
    await stage.delete(f"{JOBS}/{ids['first']}")
    await stage.reach(ids["after"], "skipped")
    await stage.reach(ids["anyway"], "completed")


# The query language


async def test_jobs_are_queried_like_every_resource(stage: Stage) -> None:
    label = f"queried-{stage.client.base_url.port}"
    for number in range(5):
        await stage.run("add", {"first": number}, label=label, priority=number, tags=["odd"] if number % 2 else [])
    query = {"label": label, "sort": "-priority", "fields": "priority"}
    assert await stage.get(JOBS, params=query) == [{"priority": number} for number in (4, 3, 2, 1, 0)]
    page = await stage.get(JOBS, params={**query, "page": 2, "size": 2})
    assert page == {"items": [{"priority": 2}, {"priority": 1}], "total": 5, "page": 2, "size": 2, "pages": 3}
    nested = f'{{"label": "{label}", "or": [{{"priority": {{"gte": 4}}}}, {{"tags": {{"has": "odd"}}}}]}}'
    assert len(await stage.get(JOBS, params={"filter": nested})) == 3
    body = {"filter": {"label": label}, "sort": "priority", "fields": "priority", "limit": 4}
    some = await stage.post(f"{JOBS}/$query", body, status=200)
    rest = await stage.post(f"{JOBS}/$query", {**body, "cursor": some["next_cursor"]}, status=200)
    assert [job["priority"] for job in some["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert rest["next_cursor"] is None
    found = await stage.get(JOBS, params={"search": label, "limit": 2, "status_filter": "completed"})
    assert len(found["items"]) == 2


async def test_the_link_of_a_filtered_list_can_be_followed(stage: Stage) -> None:
    for number in range(3):
        await stage.run("add", {"first": number}, label="linked")
    reply = await stage.client.get(JOBS, params={"status_filter": "completed", "label": "linked", "limit": 2})
    [target] = re.findall(r'<(.+)>; rel="next"', reply.headers["link"])
    following = await stage.get(target)
    assert [len(reply.json()["items"]), len(following["items"])] == [2, 1]


@pytest.mark.parametrize("name", ["args", "lease_token", "result", "created_at", "nope"])
async def test_what_is_hidden_or_unknown_cannot_be_asked_for(stage: Stage, name: str) -> None:
    problem = await stage.get(JOBS, params={"sort": name}, status=400)
    assert name in problem["detail"]
    if name != "args":
        problem = await stage.get(JOBS, params={name: "x"}, status=400)
        assert problem["errors"][0]["loc"] == ["query", name]


async def test_a_client_that_has_the_present_version_is_told_so(stage: Stage) -> None:
    id = await stage.submit("hold", {"name": "version"})
    await stage.reach(id, "running")
    first = await stage.client.get(f"{JOBS}/{id}")
    again = await stage.client.get(f"{JOBS}/{id}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    with opened("version"):
        await stage.reach(id, "completed")
    changed = await stage.client.get(f"{JOBS}/{id}", headers={"if-none-match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["status"]) == (200, "completed")
    assert await stage.get(f"{JOBS}/{id}", params={"fields": "state,kind"}) == {"state": "completed", "kind": "hold"}


async def test_unknown_parameters_are_named(stage: Stage) -> None:
    of_all = [("GET", "/$stats"), ("GET", "/$schema"), ("GET", "/$dead"), ("POST", "/$requeue"), ("POST", "/$query")]
    for method, path in [*of_all, *((method, f"/{UNKNOWN}{verb}") for method, verb in OPERATIONS)]:
        reply = await stage.client.request(method, f"{JOBS}{path}", params={"colour": "red"})
        assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (400, ["query", "colour"]), path


# Canceling


async def test_a_job_that_waits_is_canceled_at_once(stage: Stage) -> None:
    id = await stage.submit("add", {"first": 1}, delay_seconds=600)
    job = await stage.post(f"{JOBS}/{id}/$cancel")
    assert (job["status"], job["state"], job["finished_at"] is not None) == ("canceled", "canceled", True)
    assert await stage.job(id) == job
    problem = await stage.post(f"{JOBS}/{id}/$cancel", status=409)
    assert problem["detail"] == f"Job {id} is canceled and cannot be canceled any more"


@pytest.mark.parametrize("name", ["hold", "grind"])
async def test_a_job_that_listens_is_canceled_soon(stage: Stage, name: str) -> None:
    id = await stage.submit(name)
    await stage.reach(id, "running")
    if name == "grind":
        await process_of(stage, id)
    job = await stage.post(f"{JOBS}/{id}/$cancel")
    assert (job["status"], job["state"]) == ("running", "canceling")
    assert (await stage.get(f"{JOBS}/{id}/$why"))["reason"] in {"canceling", "canceled"}
    ended = await stage.reach(id, "canceled")
    assert (ended["status"], ended["error"]) == ("canceled", None)
    assert [event["type"] for event in await stage.get(f"{JOBS}/{id}/$events")][-2:] == ["canceling", "canceled"]


# It takes its time, and the process is the same on both.
@pytest.mark.parametrize("stage", ["alone"], indirect=True)
async def test_a_job_that_does_not_listen_is_canceled_by_force(stage: Stage) -> None:
    id = await stage.submit("sulk")
    pid = await process_of(stage, id)
    assert (await stage.post(f"{JOBS}/{id}/$cancel"))["state"] == "canceling"
    why = await stage.get(f"{JOBS}/{id}/$why")
    assert (why["reason"], why["facts"]["is_worker_alive"]) == ("canceling", True)
    # That it has been told already is no error.
    assert (await stage.post(f"{JOBS}/{id}/$cancel"))["state"] == "canceling"
    await stage.reach(id, "canceled")
    await eventually(is_gone(pid))


# Running again


async def test_an_ended_job_runs_again_with_all_its_attempts(stage: Stage) -> None:
    id = await stage.submit("wear_out")
    dead = await stage.reach(id, "dead")
    assert (dead["status"], dead["attempt"], dead["max_attempts"]) == ("failed", 3, 3)
    again = await stage.post(f"{JOBS}/{id}/$retry")
    assert (again["status"], again["state"], again["attempt"], again["error"]) == ("pending", "queued", 0, None)

    async def is_dead_again() -> bool:
        job = await stage.job(id)
        return bool(job["state"] == "dead" and job["revision"] > again["revision"])

    await eventually(is_dead_again)
    types = [event["type"] for event in await stage.get(f"{JOBS}/{id}/$events")]
    assert (types.count("running"), types.count("dead"), types.count("requeued")) == (6, 2, 1)


async def test_only_an_ended_job_can_run_again(stage: Stage) -> None:
    id = await stage.submit("add", {"first": 1}, delay_seconds=600)
    problem = await stage.post(f"{JOBS}/{id}/$retry", status=409)
    assert problem["detail"] == f"Job {id} is scheduled; only one that has ended can be run again"


async def test_of_many_who_want_a_job_to_run_again_one_succeeds(stage: Stage) -> None:
    with opened("open"):
        id = (await stage.run("hold", {"name": "open"}))["id"]
    replies = await asyncio.gather(*(stage.client.post(f"{JOBS}/{id}/$retry") for _ in range(8)))
    statuses = sorted(reply.status_code for reply in replies)
    assert statuses == [202] + [409] * 7
    await stage.delete(f"{JOBS}/{id}")


async def test_a_job_whose_unique_key_is_taken_cannot_run_again(stage: Stage) -> None:
    with opened("taken"):
        id = (await stage.run("once", {"name": "taken"}))["id"]
    other = await stage.submit("once", {"name": "taken"})
    problem = await stage.post(f"{JOBS}/{id}/$retry", status=409)
    assert problem["fields"] == ["unique_key"]
    await stage.delete(f"{JOBS}/{other}")
    assert (await stage.job(id))["state"] == "completed"


# What is known of a job


async def test_events_and_logs_are_read_in_pieces(stage: Stage) -> None:
    id = (await stage.run("recover"))["id"]
    events = await stage.get(f"{JOBS}/{id}/$events")
    types = ["submitted", *["running", "retrying", "due"] * 2, "running", "completed"]
    assert [event["type"] for event in events] == types
    assert [event["attempt"] for event in events] == [0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert {event["job_id"] for event in events} == {id}
    assert events[2]["detail"] == "ValueError: not yet"
    assert events[1]["worker_id"] == (await stage.job(id))["worker_id"]
    assert all(MOMENT.fullmatch(event["at"]) for event in events)
    behind = {"after": events[2]["sequence"], "limit": 2}
    assert await stage.get(f"{JOBS}/{id}/$events", params=behind) == events[3:5]
    logs = await stage.get(f"{JOBS}/{id}/$logs")
    assert [(line["attempt"], line["stream"], line["text"]) for line in logs] == [
        (number, "log", f"attempt {number} of 6") for number in (1, 2, 3)
    ]
    assert all(MOMENT.fullmatch(line["at"]) for line in logs)
    assert await stage.get(f"{JOBS}/{id}/$logs", params={"after": logs[0]["sequence"], "limit": 1}) == logs[1:2]


@pytest.mark.parametrize("verb", ["events", "logs"])
async def test_pieces_that_do_not_exist_are_refused(stage: Stage, verb: str) -> None:
    for value in ("-1", "x", "", "1.5", "9" * 30, "²"):
        for name in ("after", "limit"):
            problem = await stage.get(f"{JOBS}/{UNKNOWN}/${verb}", params={name: value}, status=400)
            assert problem["errors"][0]["loc"] == ["query", name], value
    problem = await stage.get(f"{JOBS}/{UNKNOWN}/${verb}", params={"before": "1"}, status=400)
    assert problem["errors"][0]["allowed"] == ["after", "limit"]


async def test_what_a_process_prints_is_kept(stage: Stage) -> None:
    id = (await stage.run("chatter", {"text": "one\ntwo"}))["id"]
    lines = [(line["stream"], line["text"]) for line in await stage.get(f"{JOBS}/{id}/$logs")]
    assert sorted(lines) == [("stderr", "careful"), ("stdout", "one"), ("stdout", "two")]


async def test_progress_is_seen_while_the_job_runs(stage: Stage) -> None:
    id = await stage.submit("report", {"name": "progress"})

    async def told() -> Any:
        return (await stage.job(id))["progress"]

    assert await eventually(told) == {"percent": 25.0, "step": "boil", "message": "water is warm"}
    with opened("progress"):
        job = await stage.reach(id, "completed")
    assert job["progress"] == {"percent": 100.0, "step": "done", "message": None}
    assert [line["text"] for line in await stage.get(f"{JOBS}/{id}/$logs")] == ["first", "second"]


async def test_a_result_is_exactly_what_the_task_returned(stage: Stage) -> None:
    values = (None, 0, 2**70, -0.5, "é\U0001f600", [1, [2, {"a": None}]], {"b": 1, "a": [True]}, 123456789.123456789)
    for value in values:
        job = await stage.run("echo", {"value": value})
        assert await stage.get(f"{JOBS}/{job['id']}/$result") == value
        assert job["result_ref"] == (None if value is None else f"job:{job['id']}")
        assert job["args"] == {"value": value}


async def test_only_a_completed_job_has_a_result(stage: Stage) -> None:
    id = await stage.submit("fail")
    await stage.reach(id, "failed")
    problem = await stage.get(f"{JOBS}/{id}/$result", status=409)
    assert problem["detail"] == f"Job {id} is failed; only a completed job has a result"


async def test_a_result_that_is_an_artifact_is_named(stage: Stage) -> None:
    job = await stage.run("store")
    assert (job["artifact_id"], job["result_ref"]) == (ARTIFACT, f"artifact:{ARTIFACT}")
    assert job["id"] in [found["id"] for found in await stage.get(JOBS, params={"artifact_id": ARTIFACT})]
    assert await stage.get(f"{JOBS}/{job['id']}/$result") is None


@pytest.mark.parametrize("name", ["surroundings", "surroundings_of_a_process"])
async def test_a_task_runs_in_the_context_of_the_request(stage: Stage, name: str) -> None:
    reply = await stage.client.post(f"{TASKS}/{name}/$execute", headers={"x-request-id": "trace-7"})
    job = await stage.reach(reply.json()["job_id"], "completed")
    assert (job["trace_id"], job["principal"], job["tenant"]) == ("trace-7", "anonymous", "default")
    expected = {"request_id": "trace-7", "principal": "anonymous", "tenant": "default", "traceparent": ""}
    assert await stage.get(f"{JOBS}/{job['id']}/$result") == expected


# Why


async def why(stage: Stage, id: str) -> dict[str, Any]:
    """Why a job is in its state, and that the three parts of the answer agree."""
    found: dict[str, Any] = await stage.get(f"{JOBS}/{id}/$why")
    assert found["state"] == (await stage.job(id))["state"]
    return found


async def test_a_job_with_a_time_says_when_it_comes(stage: Stage) -> None:
    found = await why(stage, await stage.submit("add", {"first": 1}, delay_seconds=90))
    assert (found["reason"], found["text"]) == ("scheduled", "scheduled in 90 s")
    assert 80 < found["facts"]["seconds"] <= 90


async def test_a_job_that_will_be_tried_again_says_when_and_why(stage: Stage) -> None:
    id = await stage.submit("postpone")
    await stage.reach(id, "retrying")
    found = await why(stage, id)
    assert found["reason"] == "retrying"
    assert found["text"] == "attempt 2 of 2 in 60 min, after: domain.retries.RetryLater: the tide is out"


async def test_a_job_of_a_queue_that_nobody_serves_says_so(stage: Stage) -> None:
    id = await stage.submit("nothing", queue="nowhere")
    found = await why(stage, id)
    assert (found["reason"], found["facts"]) == ("no_worker", {"queue": "nowhere"})
    assert "millrace worker --queues nowhere" in found["text"]
    await stage.delete(f"{JOBS}/{id}")


async def test_a_job_of_a_task_that_nobody_knows_says_so(stage: Stage) -> None:
    [job] = await stage.background.jobs.store.insert([NewJob(kind="ghost")])
    found = await why(stage, job.id)
    assert (found["reason"], found["facts"]) == ("unknown_task", {"kind": "ghost"})
    await stage.delete(f"{JOBS}/{job.id}")


async def test_a_job_that_waits_for_a_concurrency_key_says_who_has_it(stage: Stage) -> None:
    ids = [await stage.submit("rent", {"tenant": "7", "gate": "rent"}) for _ in range(3)]
    for id in ids[:2]:
        await stage.reach(id, "running")
    found = await why(stage, ids[2])
    assert found["reason"] == "concurrency"
    assert found["text"] == f"waiting: concurrency key tenant-7 2/2 held by {ids[0]}, {ids[1]}"
    assert found["facts"] == {"key": "tenant-7", "limit": 2, "held_by": ids[:2]}
    with opened("rent"):
        for id in ids:
            await stage.reach(id, "completed")


async def test_a_job_that_waits_for_its_turn_says_how_many_come_first(stage: Stage) -> None:
    running = [await stage.submit("grind") for _ in range(4)]
    for id in running:
        await stage.reach(id, "running")
    first, second = [await stage.submit("grind") for _ in range(2)]

    async def are_busy() -> Any:
        # Known once the worker has said so.
        found = await why(stage, second)
        assert found["facts"]["ahead"] == 1
        return found if found["reason"] == "processes" else None

    found = await eventually(are_busy)
    assert found["text"] == 'waiting: all 4 processes of the workers of queue "default" are busy; 1 job comes first'
    for id in (first, second, *running):
        await stage.delete(f"{JOBS}/{id}")


async def test_a_job_of_a_graph_says_what_it_waits_for(stage: Stage) -> None:
    nodes = {
        "first": {"task": "hold"},
        "then": {"task": "nothing", "depends_on": ["first"]},
        "else": {"task": "nothing", "depends_on": {"first": "failure"}},
    }
    graph = await stage.post(GRAPHS, {"nodes": nodes})
    ids = {name: node["job_id"] for name, node in graph["nodes"].items()}
    await stage.reach(ids["first"], "running")
    then, otherwise = await why(stage, ids["then"]), await why(stage, ids["else"])
    assert (then["reason"], then["text"]) == ("blocked", "blocked by first (running)")
    assert otherwise["text"] == "blocked by first (running, on failure)"
    facts = {"job_id": ids["first"], "node": "first", "state": "running", "on": "failure"}
    assert otherwise["facts"] == {"blocked_by": [facts]}
    await stage.post(f"{JOBS}/{ids['first']}/$cancel")
    await stage.reach(ids["then"], "skipped")
    assert (await why(stage, ids["then"]))["text"] == "skipped: first is canceled"


async def test_a_job_that_runs_says_where(stage: Stage) -> None:
    id = await stage.submit("hold")
    job = await stage.reach(id, "running")
    found = await why(stage, id)
    assert found["reason"] == "running"
    assert found["facts"] == {"worker_id": job["worker_id"], "attempt": 1, "is_worker_alive": True}
    assert re.fullmatch(r"running on \S+, process \d+, attempt 1", found["text"])
    await stage.delete(f"{JOBS}/{id}")


@pytest.mark.parametrize(
    "name, state, text",
    [
        ("nothing", "completed", "completed"),
        ("fail", "failed", "failed: ValueError: no luck"),
        ("wear_out", "dead", "dead after 3 attempts and 0 lost workers: ValueError: no luck"),
    ],
)
async def test_a_job_that_has_ended_says_how(stage: Stage, name: str, state: str, text: str) -> None:
    id = await stage.submit(name)
    await stage.reach(id, state)
    found = await why(stage, id)
    assert (found["reason"], found["text"]) == (state, text)


# All of them


async def test_the_stats_say_how_each_queue_stands(stage: Stage) -> None:
    waiting = [await stage.submit("nothing", queue="depot") for _ in range(2)]
    later = await stage.submit("nothing", queue="depot", delay_seconds=600)
    with opened("slowly"):
        await stage.run("linger", {"name": "slowly"})
    stats = await stage.get(f"{JOBS}/$stats")
    queues = {queue["queue"]: queue for queue in stats["queues"]}
    depot = queues["depot"]
    assert (depot["queued"], depot["scheduled"], depot["running"], depot["dead"]) == (2, 1, 0, 0)
    assert 0 <= depot["oldest_seconds"] < 30
    assert (queues["slow"]["completed_per_minute"], queues["slow"]["oldest_seconds"]) == (1, None)
    assert stats["total"] == len(await stage.get(JOBS))
    for id in (*waiting, later):
        await stage.delete(f"{JOBS}/{id}")
    # A queue is there as long as a task uses it.
    left = {queue["queue"] for queue in (await stage.get(f"{JOBS}/$stats"))["queues"]}
    assert (left >= {"default", "slow"}, "depot" in left) == (True, False)


async def test_dead_jobs_are_listed_and_can_be_run_again(stage: Stage) -> None:
    for job in await stage.get(f"{JOBS}/$dead"):
        await stage.delete(f"{JOBS}/{job['id']}")
    ids = [await stage.submit("wear_out", label=f"dead-{number}") for number in range(3)]
    for id in ids:
        await stage.reach(id, "dead")
    assert [job["id"] for job in await stage.get(f"{JOBS}/$dead")] == ids[::-1]
    assert [job["id"] for job in await stage.get(f"{JOBS}/$dead", params={"label": "dead-1"})] == [ids[1]]
    page = await stage.get(f"{JOBS}/$dead", params={"page": 1, "size": 2, "fields": "id"})
    assert (page["total"], len(page["items"])) == (3, 2)
    ended = (await stage.run("nothing"))["id"]
    chosen = {"ids": [ids[1].lower(), ended, UNKNOWN]}
    assert await stage.post(f"{JOBS}/$requeue", chosen, status=200) == {"requeued": [ids[1]], "left_out": {}}
    await stage.reach(ids[1], "dead")
    assert await stage.post(f"{JOBS}/$requeue", {"limit": 1}, status=200) == {"requeued": [ids[0]], "left_out": {}}
    await stage.reach(ids[0], "dead")
    assert await stage.post(f"{JOBS}/$requeue", status=200) == {"requeued": ids, "left_out": {}}
    assert await stage.post(f"{JOBS}/$requeue", {"ids": []}, status=200) == {"requeued": [], "left_out": {}}


async def test_a_request_to_run_dead_jobs_again_is_checked(stage: Stage) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"ids": ["zzz"]}, "/ids/0"),
        ({"ids": "all"}, "/ids"),
        ({"limit": 0}, "/limit"),
        ({"limit": 1_001}, "/limit"),
        ({"id": UNKNOWN}, "/id"),
        ([], ""),
    ]
    for body, pointer in wrong:
        problem = await stage.post(f"{JOBS}/$requeue", body, status=422)
        assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("method, path", [("POST", ""), ("PUT", "/{id}"), ("PATCH", "/{id}")])
async def test_jobs_are_not_made_or_changed_by_hand(stage: Stage, method: str, path: str) -> None:
    reply = await stage.client.request(method, f"{JOBS}{path.format(id=UNKNOWN)}", json={})
    assert (reply.status_code, reply.headers["content-type"]) == (405, "application/problem+json")
    assert method not in reply.headers["allow"].split(", ")
