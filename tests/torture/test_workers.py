"""One fault at a time: what becomes of jobs whose worker stops, stands still, is ended by one of them, or is killed."""

import asyncio
import signal

import pytest

from infra.queue.arq import ArqDoorbell
from tests.processes import eventually
from tests.torture.conftest import LostJob, Mill
from tests.torture.mill import NAME
from tests.torture.stage import halt, submitted, until_all
from tests.torture.witness import opened

on_sqlite = pytest.mark.parametrize("module_database_url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("module_database_url", ["postgresql"], indirect=True)


async def test_a_worker_that_stops_hands_its_jobs_back_and_another_has_them_within_a_second(mill: Mill) -> None:
    first = mill.worker()
    async with opened(mill.company.url) as engine:
        ids = [submitted(mill.server, kind, {"seconds": 60}) for kind in ("brief", "brief", "apart")]
        await until_all(engine, ids, lambda record, id: record.starts[id])
        mill.worker()
        assert first.stop() == 0
        record = await until_all(engine, ids, lambda record, id: len(record.starts[id]) == 2)
    for id in ids:
        history = record.events[id]
        assert [event.type for event in history] == ["submitted", "running", "released", "running"]
        assert (history[3].at - history[2].at).total_seconds() < 1
        assert (record.jobs[id].attempt, record.jobs[id].losses) == (1, 0)


@on_postgres
async def test_a_worker_that_stood_still_for_too_long_records_nothing(mill: Mill) -> None:
    first = mill.worker()
    async with opened(mill.company.url) as engine:
        ids = [submitted(mill.server, "whose", {"seconds": 1.5}) for _ in range(5)]
        await until_all(engine, ids, lambda record, id: record.starts[id])
        await halt(first, engine)
        second = mill.worker()
        await until_all(engine, ids, lambda record, id: len(record.starts[id]) == 2)
        # Its own runs are over at once, while the others' have just begun.
        first.signal(signal.SIGCONT)
        eventually(lambda: all(first.has_said("no longer ours", id) for id in ids))
        record = await until_all(engine, ids, lambda record, id: record.jobs[id].is_final)
    for id in ids:
        assert [event.type for event in record.events[id]] == ["submitted", "running", "lost", "running", "completed"]
        assert record.jobs[id].result == second.pid


@on_postgres
async def test_a_job_that_is_rung_for_many_times_runs_once(mill: Mill, redis_url: str) -> None:
    bells = [ArqDoorbell(redis_url, namespace=NAME) for _ in range(3)]
    for _ in range(2):
        mill.worker()
    ids: list[str] = []
    async with opened(mill.company.url) as engine:
        for _ in range(50):
            ids.append(await asyncio.to_thread(submitted, mill.server, "brief", {"seconds": 0.05}))
            for bell in bells:
                bell.ring("default", ids[-1])
        record = await until_all(engine, ids, lambda record, id: record.jobs[id].is_final)
    for bell in bells:
        await bell.close()
    for id in ids:
        assert [event.type for event in record.events[id]] == ["submitted", "running", "completed"]
        assert len(record.starts[id]) == 1


@on_sqlite
async def test_a_job_that_ends_its_worker_dies_and_takes_no_other_along(mill: Mill) -> None:
    worker = mill.worker(is_started=False)
    others = [submitted(mill.server, "brief", {"seconds": 0.1}) for _ in range(5)]
    poison = submitted(mill.server, "poison")
    others += [submitted(mill.server, "brief", {"seconds": 0.1}) for _ in range(5)]
    async with opened(mill.company.url) as engine:
        for _ in range(mill.company.losses):
            worker.start()
            assert worker.wait() == 9
        worker.start()
        record = await until_all(engine, [poison, *others], lambda record, id: record.jobs[id].is_final)
    assert (record.jobs[poison].state, record.jobs[poison].losses) == ("dead", mill.company.losses)
    assert {record.jobs[id].state for id in others} == {"completed"}


async def test_a_job_whose_worker_was_killed_runs_again_within_20_seconds(
    lost_job: LostJob, capsys: pytest.CaptureFixture[str]
) -> None:
    id = lost_job.id
    async with opened(lost_job.database_url) as engine:
        record = await until_all(engine, [id], lambda record, id: len(record.starts[id]) == 2)
    seconds = (record.starts[id][1].at - lost_job.killed_at).total_seconds()
    with capsys.disabled():
        print(f"\na job whose worker was killed, with a timeout of an hour, runs again after {seconds:.1f} s")
    assert seconds < 20
    assert [event.type for event in record.events[id]][:4] == ["submitted", "running", "lost", "running"]
