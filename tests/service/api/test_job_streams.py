"""A job as server-sent events: what existing clients parse, only what has changed, and never for longer than needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.api import job_streams
from tests.service.api.jobs_service import JOBS, UNKNOWN, Stage, opened, staged


class Event(msgspec.Struct):
    """One event, or a comment, which has no data."""

    id: int | None
    data: Any
    text: str


class Listening:
    """The events of one stream, as they come."""

    def __init__(self, pieces: AsyncIterator[str], headers: dict[str, str]) -> None:
        self.headers = headers
        self._pieces = pieces
        self._text = ""

    async def next(self) -> Event:
        """The next event or comment. Raises `StopAsyncIteration` when the stream has ended."""
        async with asyncio.timeout(30):
            while "\n\n" not in self._text:
                self._text += await anext(self._pieces)
        text, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
        data = msgspec.json.decode(fields["data"]) if "data" in fields else None
        return Event(int(fields["id"]) if "id" in fields else None, data, text)

    async def rest(self) -> list[Event]:
        """Everything up to the end of the stream."""
        found = []
        try:
            while True:
                found.append(await self.next())
        except StopAsyncIteration:
            assert not self._text
            return found


@asynccontextmanager
async def listening(
    stage: Stage, id: str, last: int | str | None = None, *, interval: float = 0.02
) -> AsyncIterator[Listening]:
    headers = {} if last is None else {b"last-event-id": str(last).encode("latin-1")}
    path, params = f"{JOBS}/{id}/$stream", {"poll_interval": interval}
    async with stage.client.stream("GET", path, params=params, headers=headers) as reply:
        assert reply.status_code == 200
        yield Listening(reply.aiter_text(), dict(reply.headers))


async def test_a_stream_is_what_clients_of_old_expect(stage: Stage) -> None:
    id = await stage.submit("hold", {"name": "stream"})
    await stage.reach(id, "running")
    async with listening(stage, id) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-cache", "no")
        first = await stream.next()
        with opened("stream"):
            *others, last = await stream.rest()
    assert [line.split(": ")[0] for line in first.text.splitlines()] == ["id", "data"]
    assert '"artifact_id":null' in first.text
    assert (first.data["status"], first.data["finished_at"], others) == ("running", None, [])
    assert last.data == await stage.job(id)
    assert (last.data["status"], last.id) == ("completed", last.data["revision"])


async def test_a_stream_begins_with_the_present_and_tells_every_change_once(stage: Stage) -> None:
    id = await stage.submit("report", {"name": "changes"})
    async with listening(stage, id) as stream:
        events = [await stream.next()]
        while events[-1].data["progress"] is None:
            events.append(await stream.next())
        # Many looks later there is nothing new, so nothing has been sent.
        for _ in range(20):
            await stage.job(id)
        with opened("changes"):
            events += await stream.rest()
    revisions = [event.id or 0 for event in events]
    assert revisions == sorted(set(revisions))
    assert all(event.id == event.data["revision"] for event in events)
    assert [event.data["status"] for event in events][-1] == "completed"
    assert {"percent": 25.0, "step": "boil", "message": "water is warm"} in [event.data["progress"] for event in events]


@pytest.mark.parametrize("name, status", [("nothing", "completed"), ("fail", "failed"), ("cancel", "canceled")])
async def test_the_stream_of_an_ended_job_is_one_event(stage: Stage, name: str, status: str) -> None:
    if name == "cancel":
        id = await stage.submit("nothing", delay_seconds=600)
        await stage.post(f"{JOBS}/{id}/$cancel")
    else:
        id = await stage.submit(name)
        await stage.reach(id, status)
    async with listening(stage, id) as stream:
        [event] = await stream.rest()
    assert (event.data, event.data["status"]) == (await stage.job(id), status)


async def test_who_comes_again_gets_what_he_has_missed(stage: Stage) -> None:
    id = await stage.submit("hold", {"name": "again"})
    await stage.reach(id, "running")
    async with listening(stage, id) as stream:
        seen = (await stream.next()).id
    async with listening(stage, id, seen) as stream:
        with opened("again"):
            [event] = await stream.rest()
    assert event.data["status"] == "completed"
    async with listening(stage, id, seen) as stream:
        assert [event.id for event in await stream.rest()] == [event.id]
    reply = await stage.client.get(f"{JOBS}/{id}/$stream", headers={"last-event-id": str(event.id)})
    assert (reply.status_code, reply.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", "", "9" * 18, "9" * 40, "1.5", "\xb2"])
async def test_who_claims_to_know_the_future_gets_the_present(stage: Stage, last: str) -> None:
    id = (await stage.run("nothing"))["id"]
    async with listening(stage, id, last) as stream:
        [event] = await stream.rest()
    assert event.data["status"] == "completed"


async def test_the_removal_of_a_job_is_told(stage: Stage) -> None:
    id = await stage.submit("hold")
    await stage.reach(id, "running")
    async with listening(stage, id) as stream:
        await stream.next()
        await stage.delete(f"{JOBS}/{id}")
        *others, last = await stream.rest()
    assert all(event.data["status"] in {"running", "canceled"} for event in others)
    assert last.text == 'data: {"status":"deleted"}'


async def test_a_quiet_stream_is_kept_open_by_heartbeats(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_streams, "HEARTBEAT_SECONDS", 0.05)
    id = await stage.submit("hold", {"name": "heart"})
    await stage.reach(id, "running")
    # However seldom it is to look.
    async with listening(stage, id, interval=60) as stream:
        await stream.next()
        for _ in range(2):
            assert (await stream.next()).text == ": heartbeat"
        with opened("heart"):
            assert (await stream.rest())[-1].data["status"] == "completed"


async def test_a_stream_outlives_an_absence_of_the_database(stage: Stage) -> None:
    id = await stage.submit("hold", {"name": "absence"})
    await stage.reach(id, "running")
    running = stage.app.running
    async with listening(stage, id) as stream:
        await stream.next()
        background, running.opened_background = running.opened_background, None
        for _ in range(30):
            await stage.get(f"{JOBS}/{id}/$why", status=503)
        running.opened_background = background
        with opened("absence"):
            assert [event.data["status"] for event in await stream.rest()] == ["completed"]


@pytest.mark.parametrize("value", ["0", "-1", "60.1", "nan", "inf", "x", ""])
async def test_an_interval_has_bounds(stage: Stage, value: str) -> None:
    # It is looked at first.
    problem = await stage.get(f"{JOBS}/{UNKNOWN}/$stream", params={"poll_interval": value}, status=422)
    [error] = problem["errors"]
    assert (error["loc"], error["input"]) == (["query", "poll_interval"], value)


async def test_a_stream_takes_no_other_parameter(stage: Stage) -> None:
    problem = await stage.get(f"{JOBS}/{UNKNOWN}/$stream", params={"poll_interval": 1, "colour": "red"}, status=400)
    assert (problem["errors"][0]["loc"], problem["errors"][0]["allowed"]) == (["query", "colour"], ["poll_interval"])


async def test_a_head_request_does_not_wait_for_the_end(stage: Stage) -> None:
    id = await stage.submit("hold")
    await stage.reach(id, "running")
    reply = await stage.client.head(f"{JOBS}/{id}/$stream")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await stage.delete(f"{JOBS}/{id}")


async def test_a_stream_ends_when_the_service_stops(tmp_path: Path) -> None:
    async with staged(f"sqlite:///{tmp_path / 'works.db'}", None) as stage:
        later = await stage.submit("nothing", delay_seconds=600)
        async with listening(stage, later, interval=60) as stream:
            await stream.next()
            stage.app.running.draining.set()
            assert await stream.rest() == []
