"""Schedules over HTTP: kept only when they can work out, fired exactly once, and changed while they run."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.wire import timestamp_text
from tests.service.api.jobs_service import JOBS, SCHEDULES, UNKNOWN, Stage, eventually, opened

NEVER_SOON = "0 0 1 1 *"
OPERATIONS = [("GET", "/$preview"), ("GET", "/$ticks"), ("POST", "/$trigger"), ("POST", "/$backfill")]
SPAN = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-04T00:00:00Z"}


async def make(stage: Stage, name: str, **more: Any) -> dict[str, Any]:
    """A new schedule."""
    body = {"name": name, "task": "nothing", "cron": NEVER_SOON, **more}
    made: dict[str, Any] = await stage.post(SCHEDULES, body, status=201)
    return made


async def read(stage: Stage, schedule: dict[str, Any]) -> dict[str, Any]:
    """A schedule as it is now."""
    found: dict[str, Any] = await stage.get(f"{SCHEDULES}/{schedule['id']}")
    return found


async def patch(stage: Stage, schedule: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A schedule with other values."""
    reply = await stage.client.patch(f"{SCHEDULES}/{schedule['id']}", json=values)
    assert reply.status_code == 200, reply.text
    changed: dict[str, Any] = reply.json()
    return changed


async def jobs_of(stage: Stage, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs of a schedule, oldest first."""
    params = {"schedule_id": schedule["id"], "sort": "fire_at,id"}
    found: list[dict[str, Any]] = await stage.get(JOBS, params=params)
    return found


async def ticks(stage: Stage, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    """What became of the ticks of a schedule, oldest first."""
    found: list[dict[str, Any]] = await stage.get(f"{SCHEDULES}/{schedule['id']}/$ticks")
    return found[::-1]


# Keeping them


async def test_a_schedule_is_kept_as_it_was_given(stage: Stage) -> None:
    given = {
        "name": "kept",
        "task": "linger",
        "args": {"name": "x"},
        "cron": "30 4 * * mon",
        "time_zone": "Europe/Berlin",
        "overlap": "buffer_one",
        "catch_up": "all",
        "catch_up_limit": 5,
        "misfire_grace_seconds": 10.0,
        "jitter_seconds": 2.5,
        "start_at": "2030-01-01T00:00:00.000000Z",
        "end_at": "2031-01-01T00:00:00.000000Z",
        "queue": "nightly",
        "priority": 3,
        "timeout_seconds": 60.0,
        "tags": ["a"],
    }
    reply = await stage.client.post(SCHEDULES, json=given)
    made = reply.json()
    assert (reply.status_code, reply.headers["location"]) == (201, f"{stage.url}{SCHEDULES}/{made['id']}")
    assert {name: made[name] for name in given} == given
    assert [made[name] for name in ("is_paused", "last_fire_at", "fired", "skipped", "missed")] == [
        False,
        None,
        0,
        0,
        0,
    ]
    assert made["next_fire_at"] == "2030-01-07T03:30:00.000000Z"
    assert await read(stage, made) == made
    assert made in await stage.get(SCHEDULES, params={"name": "kept"})


async def test_a_schedule_needs_little(stage: Stage) -> None:
    made = await make(stage, "little")
    names = ("args", "time_zone", "overlap", "catch_up", "catch_up_limit", "misfire_grace_seconds", "jitter_seconds")
    assert [made[name] for name in names] == [{}, "UTC", "skip", "last", 100, 60.0, 0.0]
    assert (made["queue"], made["priority"], made["timeout_seconds"]) == (None, None, None)
    year = datetime.now(UTC).year + 1
    assert made["next_fire_at"] == f"{year}-01-01T00:00:00.000000Z"


async def test_arguments_are_kept_with_their_defaults(stage: Stage) -> None:
    made = await make(stage, "defaults", task="add", args={"first": 1})
    assert (made["args"], (await read(stage, made))["args"]) == ({"first": 1, "second": 1},) * 2


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": ""}, ["/name"]),
    ({"name": None}, ["/name"]),
    ({"name": "n" * 201}, ["/name"]),
    ({"name": "nul\0"}, ["/name"]),
    ({"task": "nothin"}, ["/task"]),
    ({"task": 5}, ["/task"]),
    ({"args": {"x": 1}}, ["/args/x"]),
    ({"task": "add"}, ["/args/first"]),
    ({"task": "add", "args": {"first": "1", "second": -1}}, ["/args/first", "/args/second"]),
    ({"task": "echo", "args": {"value": {"$ref": "x"}}}, ["/args"]),
    ({"cron": ""}, ["/cron"]),
    ({"cron": "* * * *"}, ["/cron"]),
    ({"cron": "61 * * * *"}, ["/cron"]),
    ({"cron": "0 0 30 2 *"}, ["/cron"]),
    ({"cron": "@sometimes"}, ["/cron"]),
    ({"cron": ",".join(["0"] * 150) + " * * * *"}, ["/cron"]),
    ({"time_zone": "Europe/Atlantis"}, ["/time_zone"]),
    ({"time_zone": "../etc/passwd"}, ["/time_zone"]),
    ({"time_zone": "z" * 101}, ["/time_zone"]),
    ({"time_zone": ""}, ["/time_zone"]),
    ({"overlap": "sometimes"}, ["/overlap"]),
    ({"catch_up": "some"}, ["/catch_up"]),
    ({"catch_up_limit": 0}, ["/catch_up_limit"]),
    ({"catch_up_limit": 1_001}, ["/catch_up_limit"]),
    ({"misfire_grace_seconds": -1}, ["/misfire_grace_seconds"]),
    ({"jitter_seconds": 86_401}, ["/jitter_seconds"]),
    ({"start_at": "2030-01-01T00:00:00"}, ["/start_at"]),
    ({"start_at": "soon"}, ["/start_at"]),
    ({"start_at": "2030-01-01T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, ["/end_at"]),
    ({"start_at": "2030-02-01T00:00:00Z", "end_at": "2030-03-01T00:00:00Z"}, ["/end_at"]),
    ({"end_at": "9999-12-31T23:59:59-14:00"}, ["/end_at"]),
    ({"is_paused": "no"}, ["/is_paused"]),
    ({"queue": "a b"}, ["/queue"]),
    ({"priority": 1_001}, ["/priority"]),
    ({"timeout_seconds": 0}, ["/timeout_seconds"]),
    ({"tags": ["a b"]}, ["/tags/0"]),
    ({"crom": "* * * * *"}, ["/crom"]),
    ({"task": "rent", "args": {"tenant": "t"}, "overlap": "buffer_all"}, ["/overlap"]),
    ({"task": "nothin", "cron": "x", "time_zone": "y"}, ["/cron", "/task", "/time_zone"]),
]


async def test_what_cannot_work_out_is_refused_with_every_wrong_field(stage: Stage) -> None:
    before = (await stage.get(f"{SCHEDULES}/$stats"))["total"]
    for wrong, pointers in WRONG:
        body = {"name": "wrong", "task": "nothing", "cron": NEVER_SOON, **wrong}
        problem = await stage.post(SCHEDULES, body, status=422)
        assert sorted(error["pointer"] for error in problem["errors"]) == pointers, wrong
    assert (await stage.get(f"{SCHEDULES}/$stats"))["total"] == before


async def test_a_change_is_checked_as_strictly(stage: Stage) -> None:
    made = await make(stage, "changed-wrongly")
    for wrong, pointers in WRONG:
        reply = await stage.client.patch(f"{SCHEDULES}/{made['id']}", json=wrong)
        assert reply.status_code == 422, wrong
        assert sorted(error["pointer"] for error in reply.json()["errors"]) == pointers, wrong
    assert await read(stage, made) == made


async def test_what_is_missing_is_named(stage: Stage) -> None:
    problem = await stage.post(SCHEDULES, {}, status=422)
    assert [error["pointer"] for error in problem["errors"]] == ["/name", "/task", "/cron"]


async def test_names_are_unique(stage: Stage) -> None:
    await make(stage, "twin")
    other = await make(stage, "sibling")
    body = {"name": "twin", "task": "nothing", "cron": NEVER_SOON}
    assert (await stage.post(SCHEDULES, body, status=409))["fields"] == ["name"]
    reply = await stage.client.patch(f"{SCHEDULES}/{other['id']}", json={"name": "twin"})
    assert (reply.status_code, reply.json()["fields"]) == (409, ["name"])


async def test_what_the_service_counts_cannot_be_set(stage: Stage) -> None:
    made = await make(stage, "counted", fired=5, next_fire_at="2020-01-01T00:00:00Z", last_fire_at=None, missed=3)
    assert (made["fired"], made["missed"], made["next_fire_at"] > "2025") == (0, 0, True)


async def test_a_schedule_is_replaced_and_removed(stage: Stage) -> None:
    made = await make(stage, "replaced", priority=5, cron="0 12 * * *")
    await stage.post(f"{SCHEDULES}/{made['id']}/$backfill", SPAN)
    body = {"name": "replaced", "task": "add", "args": {"first": 1}, "cron": "0 0 1 6 *"}
    reply = await stage.client.put(f"{SCHEDULES}/{made['id']}", json=body)
    changed = reply.json()
    assert (reply.status_code, changed["priority"], changed["task"]) == (200, None, "add")
    assert changed["next_fire_at"].endswith("-06-01T00:00:00.000000Z")
    reply = await stage.client.patch(
        f"{SCHEDULES}/{made['id']}", json={"priority": 1}, headers={"if-match": '"of-yesterday"'}
    )
    assert reply.status_code == 412
    await stage.delete(f"{SCHEDULES}/{made['id']}")
    await stage.get(f"{SCHEDULES}/{made['id']}", status=404)
    # Its jobs are history, its ticks are not needed any longer.
    assert len(await jobs_of(stage, made)) == 3
    assert not await stage.engine.fetch(f"SELECT 1 FROM millrace_ticks WHERE schedule_id = '{made['id']}'")


@pytest.mark.parametrize("method, verb", OPERATIONS)
async def test_a_schedule_that_does_not_exist_is_not_found(stage: Stage, method: str, verb: str) -> None:
    body: dict[str, Any] = {"json": SPAN} if verb == "/$backfill" else {}
    for id, status in ((UNKNOWN, 404), ("zzz", 400)):
        reply = await stage.client.request(method, f"{SCHEDULES}/{id}{verb}", **body)
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    reply = await stage.client.request(method, f"{SCHEDULES}/{UNKNOWN}{verb}", params={"colour": "red"}, **body)
    assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (400, ["query", "colour"])


# What is to come


async def test_the_next_ticks_can_be_seen(stage: Stage) -> None:
    made = await make(
        stage, "seen", cron="30 2 * * sun", time_zone="Europe/Berlin", start_at="2030-03-20T00:00:00Z", is_paused=True
    )
    found = await stage.get(f"{SCHEDULES}/{made['id']}/$preview")
    # On the last Sunday of March there is no half past two; the clocks go from two to three.
    assert found[:2] == [
        {"fire_at": "2030-03-24T01:30:00.000000Z", "local": "2030-03-24T02:30:00+01:00"},
        {"fire_at": "2030-03-31T01:00:00.000000Z", "local": "2030-03-31T03:00:00+02:00"},
    ]
    assert len(found) == 10
    assert await stage.get(f"{SCHEDULES}/{made['id']}/$preview", params={"count": 2}) == found[:2]
    last = await make(stage, "last", cron="0 0 * * *", start_at="2030-01-01T00:00:00Z", end_at="2030-01-03T00:00:00Z")
    moments = [moment["fire_at"] for moment in await stage.get(f"{SCHEDULES}/{last['id']}/$preview")]
    assert moments == ["2030-01-01T00:00:00.000000Z", "2030-01-02T00:00:00.000000Z"]


@pytest.mark.parametrize("verb", ["preview", "ticks"])
async def test_a_count_has_bounds(stage: Stage, verb: str) -> None:
    for value in ("0", "101", "-1", "x", "", "1.5", "²", "000000001" + "9" * 5_000):
        problem = await stage.get(f"{SCHEDULES}/{UNKNOWN}/${verb}", params={"count": value}, status=400)
        assert problem["errors"][0]["loc"] == ["query", "count"], value


# On request


async def test_a_schedule_can_be_triggered_whenever(stage: Stage) -> None:
    made = await make(stage, "triggered", task="add", args={"first": 4}, is_paused=True, tags=["t"], priority=2)
    reply = await stage.client.post(f"{SCHEDULES}/{made['id']}/$trigger")
    id = reply.json()["job_id"]
    assert (reply.status_code, reply.headers["location"]) == (202, f"{stage.url}{JOBS}/{id}")
    assert reply.json()["message"] == f"Job submitted. Job ID: {id}"
    job = await stage.reach(id, "completed")
    assert (job["schedule_id"], job["fire_at"], job["label"], job["tags"]) == (made["id"], None, "triggered", ["t"])
    assert (job["priority"], job["args"], job["principal"]) == (2, {"first": 4, "second": 1}, "schedule")
    assert (await ticks(stage, made), (await read(stage, made))["fired"]) == ([], 0)


async def test_a_trigger_says_that_its_job_is_there_already(stage: Stage) -> None:
    made = await make(stage, "twice", task="once", args={"name": "twice"})
    first, second = [await stage.post(f"{SCHEDULES}/{made['id']}/$trigger", None) for _ in range(2)]
    assert (first["is_duplicate"], second["is_duplicate"]) == (False, True)
    assert second["message"] == f"This job is there already. Job ID: {first['job_id']}"
    with opened("twice"):
        await stage.reach(first["job_id"], "completed")


async def test_the_past_can_be_made_up_for_and_only_once(stage: Stage) -> None:
    made = await make(stage, "past", cron="0 0 * * *", overlap="allow_all")
    path = f"{SCHEDULES}/{made['id']}/$backfill"
    first = await stage.post(path, SPAN)
    assert first["already_seen_to"] == []
    days = [f"2024-01-0{day}T00:00:00.000000Z" for day in (1, 2, 3)]
    jobs = [await stage.reach(id, "completed") for id in first["job_ids"]]
    assert [job["fire_at"] for job in jobs] == days
    again = await stage.post(path, {"start": "2024-01-02T01:00:00+01:00", "end": "2024-01-05T00:00:00Z"})
    assert again["already_seen_to"] == days[1:]
    assert len(again["job_ids"]) == 1
    assert [(tick["fire_at"], tick["outcome"], tick["detail"]) for tick in await ticks(stage, made)] == [
        (f"2024-01-0{day}T00:00:00.000000Z", "fired", "backfill") for day in (1, 2, 3, 4)
    ]
    assert len(await stage.get(f"{SCHEDULES}/{made['id']}/$ticks", params={"count": 2})) == 2


async def test_the_past_is_made_up_for_once_however_many_ask(stage: Stage) -> None:
    made = await make(stage, "crowd", cron="0 0 * * *", overlap="allow_all")
    replies = await asyncio.gather(*(stage.post(f"{SCHEDULES}/{made['id']}/$backfill", SPAN) for _ in range(5)))
    assert sorted(len(reply["job_ids"]) for reply in replies) == [0, 0, 0, 0, 3]
    assert len(await jobs_of(stage, made)) == 3


@pytest.mark.parametrize(
    "body, pointers",
    [
        ({}, ["/end", "/start"]),
        ({"start": "2024-01-01T00:00:00Z"}, ["/end"]),
        ({"start": "2024-01-01T00:00:00", "end": "2024-01-02T00:00:00Z"}, ["/start"]),
        ({"start": "2024-01-02T00:00:00Z", "end": "2024-01-01T00:00:00Z"}, ["/end"]),
        ({"start": "1000-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z"}, ["/end"]),
        ({"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-14:00"}, ["/end", "/start"]),
        ({**SPAN, "count": 3}, ["/count"]),
        ([], [""]),
    ],
)
async def test_a_span_that_cannot_be_made_up_for_is_refused(stage: Stage, body: Any, pointers: list[str]) -> None:
    [made] = await stage.get(SCHEDULES, params={"name": "spans"}) or [await make(stage, "spans", cron="0 0 * * *")]
    problem = await stage.post(f"{SCHEDULES}/{made['id']}/$backfill", body, status=422)
    assert sorted(error["pointer"] for error in problem["errors"]) == pointers
    assert await jobs_of(stage, made) == []


# Firing


async def test_each_overlap_policy_does_what_it_says(stage: Stage) -> None:
    policies = ("skip", "buffer_one", "buffer_all", "cancel_other", "allow_all")
    made = {
        policy: await make(
            stage, f"overlap-{policy}", task="hold", args={"name": policy}, cron="* * * * * *", overlap=policy
        )
        for policy in policies
    }

    async def have_ticked() -> bool:
        return all([len(await ticks(stage, schedule)) >= 3 for schedule in made.values()])

    await eventually(have_ticked)
    for schedule in made.values():
        await patch(stage, schedule, is_paused=True)
    outcomes = {policy: [tick["outcome"] for tick in await ticks(stage, made[policy])] for policy in policies}
    count = {policy: len(found) for policy, found in outcomes.items()}
    assert outcomes == {
        "skip": ["fired"] + ["skipped"] * (count["skip"] - 1),
        "buffer_one": ["fired"] * 2 + ["skipped"] * (count["buffer_one"] - 2),
        "buffer_all": ["fired"] * count["buffer_all"],
        "cancel_other": ["fired"] * count["cancel_other"],
        "allow_all": ["fired"] * count["allow_all"],
    }

    async def found(policy: str) -> list[str]:
        return [job["state"] for job in await jobs_of(stage, made[policy])]

    async def have_settled() -> bool:
        return {policy: await found(policy) for policy in policies} == {
            "skip": ["running"],
            "buffer_one": ["running", "queued"],
            "buffer_all": ["running"] + ["queued"] * (count["buffer_all"] - 1),
            "cancel_other": ["canceled"] * (count["cancel_other"] - 1) + ["running"],
            "allow_all": ["running"] * count["allow_all"],
        }

    await eventually(have_settled)
    with opened(*policies):

        async def have_ended() -> bool:
            return all([set(await found(policy)) <= {"completed", "canceled"} for policy in policies])

        await eventually(have_ended)
    buffered = await jobs_of(stage, made["buffer_all"])
    for before, after in itertools.pairwise(buffered):
        assert before["finished_at"] <= after["started_at"]
    for policy, schedule in made.items():
        counted = await read(stage, schedule)
        assert (counted["fired"], counted["skipped"]) == (
            outcomes[policy].count("fired"),
            outcomes[policy].count("skipped"),
        )
        assert len({tick["fire_at"] for tick in await ticks(stage, schedule)}) == count[policy]
        await stage.delete(f"{SCHEDULES}/{schedule['id']}")


async def test_a_job_knows_its_tick(stage: Stage) -> None:
    made = await make(stage, "tick", cron="* * * * * *", overlap="allow_all", jitter_seconds=0.9)

    async def has_fired() -> list[dict[str, Any]]:
        return await jobs_of(stage, made)

    job = (await eventually(has_fired))[0]
    await patch(stage, made, is_paused=True)
    tick = (await ticks(stage, made))[0]
    assert (tick["fire_at"], tick["job_id"], tick["outcome"]) == (job["fire_at"], job["id"], "fired")
    late = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["fire_at"])
    assert timedelta() <= late < timedelta(seconds=0.9)
    assert (await stage.reach(job["id"], "completed"))["started_at"] >= job["run_at"]


async def test_a_schedule_pauses_and_goes_on_without_making_up(stage: Stage) -> None:
    made = await make(stage, "pause", cron="* * * * * *", is_paused=True, catch_up="all")
    other = await make(stage, "beside", cron="* * * * * *", overlap="allow_all")

    async def has_the_other_fired_twice() -> bool:
        return len(await ticks(stage, other)) >= 2

    await eventually(has_the_other_fired_twice)
    assert await ticks(stage, made) == []
    resumed = await patch(stage, made, is_paused=False)

    async def has_fired() -> list[dict[str, Any]]:
        return await ticks(stage, made)

    first = (await eventually(has_fired))[0]
    assert first["fire_at"] >= resumed["next_fire_at"]
    assert (await read(stage, made))["missed"] == 0
    for schedule in (made, other):
        await stage.delete(f"{SCHEDULES}/{schedule['id']}")


async def test_after_a_downtime_ticks_are_caught_up_with_as_wanted(stage: Stage) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    missed = [midnight - timedelta(days=days) for days in (4, 3, 2, 1, 0)]
    wanted = {("none", 100): 0, ("last", 100): 1, ("all", 3): 3, ("all", 100): 5}
    made = {}
    for catch_up, limit in wanted:
        more = {"catch_up": catch_up, "catch_up_limit": limit, "misfire_grace_seconds": 0, "overlap": "allow_all"}
        made[catch_up, limit] = await make(stage, f"down-{catch_up}-{limit}", cron="0 0 * * *", **more)
    # As if nobody had been there for days.
    first, before = (timestamp_text(missed[0] - timedelta(days=days)) for days in (0, 1))
    past = f"next_fire_at = '{first}', last_fire_at = '{before}'"
    await stage.engine.execute(f"UPDATE millrace_schedules SET {past} WHERE name LIKE 'down-%'")

    async def are_caught_up() -> bool:
        return all([(await read(stage, one))["next_fire_at"] > timestamp_text(midnight) for one in made.values()])

    await eventually(are_caught_up)
    for how, fired in wanted.items():
        found = await read(stage, made[how])
        assert (found["fired"], found["missed"], found["skipped"]) == (fired, 5 - fired, 0), how
        assert found["last_fire_at"] == timestamp_text(midnight)
        moments = [timestamp_text(moment) for moment in missed[5 - fired :]]
        assert [tick["fire_at"] for tick in await ticks(stage, found)] == moments
        jobs = await jobs_of(stage, found)
        assert [job["fire_at"] for job in jobs] == moments
        for job in jobs:
            await stage.reach(job["id"], "completed")


async def test_a_schedule_that_cannot_fire_is_said_to_have_failed_and_the_others_fire(stage: Stage) -> None:
    broken = await make(stage, "broken", task="add", args={"first": 1}, cron="* * * * * *", overlap="allow_all")
    # As if the task had been given other arguments since.
    await stage.engine.execute(f"UPDATE millrace_schedules SET args = '{{}}' WHERE id = '{broken['id']}'")
    sound = await make(stage, "sound", cron="* * * * * *", overlap="allow_all")

    async def have_both_ticked() -> bool:
        outcomes = {tick["outcome"] for tick in await ticks(stage, broken)}
        return "failed" in outcomes and len(await jobs_of(stage, sound)) >= 1

    await eventually(have_both_ticked)
    for schedule in (broken, sound):
        await stage.delete(f"{SCHEDULES}/{schedule['id']}")


async def test_a_tick_fires_once_however_many_workers_there_are(stage: Stage) -> None:
    made = await make(stage, "once", cron="* * * * * *", overlap="allow_all")

    async def have_fired() -> bool:
        await asyncio.gather(*(stage.background.schedules.firing.fire_due() for _ in range(8)))
        return len(await ticks(stage, made)) >= 1

    await eventually(have_fired)
    await patch(stage, made, is_paused=True)
    jobs = await jobs_of(stage, made)
    assert len({job["fire_at"] for job in jobs}) == len(jobs) == (await read(stage, made))["fired"]


async def test_schedules_are_queried_like_every_resource(stage: Stage) -> None:
    for name in ("query-a", "query-b"):
        await make(stage, name, tags=["queried"])
    found = await stage.get(SCHEDULES, params={"tags": "queried", "sort": "-name", "fields": "name"})
    assert found == [{"name": "query-b"}, {"name": "query-a"}]
    body = {"filter": {"name": {"starts": "query-"}}, "limit": 1, "sort": ["name"], "fields": ["name"]}
    page = await stage.post(f"{SCHEDULES}/$query", body, status=200)
    assert (page["items"], page["next_cursor"] is not None) == ([{"name": "query-a"}], True)
