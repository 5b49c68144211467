"""What a worker does around a run, and writes together with its end: both or neither."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from domain.entity import new_id
from domain.errors import Conflict, Unavailable
from domain.job_ports import Effect
from domain.jobs import Job, JobState
from domain.runs import Message, Reason, RunEnd
from infra.runners.process import ProcessRunner
from service.managers.runs import Runs
from service.managers.worker import Worker
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, eventually, gate, queue_name, works


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        await opened.engine.execute("CREATE TABLE spelled (id varchar(26) PRIMARY KEY, word varchar(100) NOT NULL)")
        yield opened
        await opened.engine.execute("DROP TABLE spelled")


class Spelling:
    """Hooks that put a word in, and keep the spelled one; each step can be made to fail."""

    def __init__(self, service: Works) -> None:
        self.service = service
        self.word: str | None = "word"
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.writing: list[Exception] = []
        self.is_open = False

    @asynccontextmanager
    async def around(self, job: Job, report: Callable[[Message], None]) -> AsyncIterator["Spelled"]:
        gate(f"around {job.id}").set()
        if self.before:
            raise self.before.pop(0)
        report({"log": "prepared"})
        self.is_open = True
        try:
            yield Spelled(self, job)
        finally:
            self.is_open = False


class Spelled:
    """One run."""

    def __init__(self, spelling: Spelling, job: Job) -> None:
        self.args: Mapping[str, Any] = {"value": spelling.word}
        self.spelling = spelling
        self.job = job

    async def ended(self, end: RunEnd) -> tuple[RunEnd, Effect | None]:
        if self.spelling.after:
            raise self.spelling.after.pop(0)
        if end.reason is not Reason.COMPLETED:
            return msgspec.structs.replace(end, error=f"{end.error}!"), None
        return msgspec.structs.replace(end, artifact_id=self.job.id), self._write

    async def _write(self, job: Job) -> None:
        engine = self.spelling.service.engine
        await engine.execute(f"INSERT INTO spelled VALUES ('{job.id}', '{job.state}')")
        if self.spelling.writing:
            raise self.spelling.writing.pop(0)


@pytest.fixture
async def spelling(service: Works) -> Spelling:
    return Spelling(service)


@pytest.fixture
def queue() -> str:
    return queue_name()


@asynccontextmanager
async def working(service: Works, spelling: Spelling, queue: str) -> AsyncIterator[Worker]:
    async with service.working(queue, lease_seconds=10.0) as worker:
        runs = Runs(service.store, ProcessRunner([tasks.spell_in_process]), {"spell_in_process": spelling})
        worker._runs = runs
        yield worker


async def written(service: Works, job: Job) -> list[str]:
    return [word for (word,) in await service.engine.fetch(f"SELECT word FROM spelled WHERE id = '{job.id}'")]


async def test_what_is_prepared_is_what_the_task_gets_and_the_effect_is_written_with_the_end(
    service: Works, spelling: Spelling, queue: str
) -> None:
    job = await service.add(tasks.spell_in_process, "mine", queue=queue)
    async with working(service, spelling, queue):
        ended = await service.ended(job)
    assert (ended.state, ended.artifact_id, ended.result_ref) == (JobState.COMPLETED, job.id, f"artifact:{job.id}")
    assert await written(service, job) == ["completed"]
    assert not spelling.is_open


async def test_a_run_that_fails_can_be_told_in_other_words(service: Works, spelling: Spelling, queue: str) -> None:
    spelling.word = "broken"
    job = await service.add(tasks.spell_in_process, queue=queue)
    async with working(service, spelling, queue):
        ended = await service.ended(job)
    assert (ended.state, ended.error) == (JobState.FAILED, "ValueError: no such word!")
    assert await written(service, job) == []


@pytest.mark.parametrize("step", ["before", "after"])
async def test_a_step_that_fails_is_the_end_of_the_run(
    service: Works, spelling: Spelling, queue: str, step: str
) -> None:
    getattr(spelling, step).append(ValueError("not like this"))
    job = await service.add(tasks.spell_in_process, queue=queue)
    async with working(service, spelling, queue):
        ended = await service.ended(job)
    assert (ended.state, ended.error) == (JobState.FAILED, "ValueError: not like this")
    assert not spelling.is_open


@pytest.mark.parametrize("step", ["before", "after", "writing"])
async def test_a_step_that_finds_the_store_away_is_tried_again(
    service: Works, spelling: Spelling, queue: str, step: str
) -> None:
    getattr(spelling, step).extend([Unavailable("the store is away"), Unavailable("the store is away")])
    job = await service.add(tasks.spell_in_process, queue=queue)
    async with working(service, spelling, queue):
        assert (await service.ended(job)).state is JobState.COMPLETED
    assert await written(service, job) == ["completed"]


async def test_a_job_that_waits_for_its_surroundings_can_be_canceled(
    service: Works, spelling: Spelling, queue: str
) -> None:
    spelling.before = [Unavailable("the store is away")] * 10_000
    job = await service.add(tasks.spell_in_process, queue=queue)
    async with working(service, spelling, queue):
        async with asyncio.timeout(30):
            await gate(f"around {job.id}").wait()
        await service.store.cancel([job.id])
        assert (await service.ended(job)).state is JobState.CANCELED


async def test_an_effect_that_is_refused_fails_the_job_and_leaves_nothing(
    service: Works, spelling: Spelling, queue: str
) -> None:
    spelling.writing.append(Conflict("taken", extensions={"constraint": "unique"}))
    job = await service.add(tasks.spell_in_process, queue=queue)
    async with working(service, spelling, queue):
        ended = await service.ended(job)
    assert (ended.state, ended.error) == (JobState.FAILED, "The result cannot be stored: taken")
    assert await written(service, job) == []


async def test_a_run_whose_lease_is_lost_writes_nothing(service: Works, spelling: Spelling, queue: str) -> None:
    job = await service.add(tasks.spell_in_process, queue=queue)
    spelling.after = [Unavailable("the store is away")] * 10_000
    async with working(service, spelling, queue):
        await eventually(lambda: _is_after(spelling))
        await service.engine.execute(f"UPDATE millrace_jobs SET lease_token = '{new_id()}' WHERE id = '{job.id}'")
        spelling.after = []
        await eventually(lambda: _is_closed(spelling))
    assert await written(service, job) == []
    await service.store.delete([job.id])


async def _is_after(spelling: Spelling) -> bool:
    return len(spelling.after) < 10_000


async def _is_closed(spelling: Spelling) -> bool:
    return not spelling.is_open
