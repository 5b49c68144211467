"""Bare arq, for comparison: `python -m bench.arq_peer <Redis URL>` does what it is told and prints how long it took.

`run <jobs> <max_jobs> <poll_delay>` puts no-op jobs into the queue and has arq's own worker do them; `enqueue <jobs>`
enqueues them one by one. Each line is answered by the seconds of what it names.
"""

import logging
import sys
import time
from typing import Any

import msgspec
import uvloop
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from arq.worker import Worker, func

_encode = msgspec.msgpack.encode
_DAY_MILLISECONDS = 86_400_000


async def nothing(ctx: dict[Any, Any], number: int) -> None:
    """Our no-op task."""


async def run(redis: ArqRedis, jobs: int, max_jobs: int, poll_delay: float) -> float:
    """How long arq's worker takes for jobs that wait already; it keeps no results, and ends with the last job."""
    await _preload(redis, jobs)
    worker = Worker(
        [func(nothing, name="nothing")],
        redis_pool=redis,
        burst=True,
        handle_signals=False,
        max_jobs=max_jobs,
        poll_delay=poll_delay,
        keep_result=0,
        log_results=False,
        job_serializer=_encode,
        job_deserializer=msgspec.msgpack.decode,
    )
    started = time.perf_counter()
    await worker.main()
    seconds = time.perf_counter() - started
    assert worker.jobs_complete == jobs
    return seconds


async def _preload(redis: ArqRedis, jobs: int) -> None:
    now = timestamp_ms()
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(jobs):
            job = serialize_job("nothing", (number,), {}, None, now, serializer=_encode)
            pipeline.psetex(f"{job_key_prefix}{number}", _DAY_MILLISECONDS, job)
            pipeline.zadd(default_queue_name, {str(number): now})
        await pipeline.execute()


async def enqueue(redis: ArqRedis, jobs: int) -> float:
    """How long it takes to enqueue one job after the other."""
    started = time.perf_counter()
    for number in range(jobs):
        await redis.enqueue_job("nothing", number)
    return time.perf_counter() - started


async def _obey(url: str) -> None:
    settings = RedisSettings.from_dsn(url)
    redis = await create_pool(settings, job_serializer=_encode, job_deserializer=msgspec.msgpack.decode)
    # There is nothing else to do while it waits for its orders.
    for line in sys.stdin:
        await redis.flushdb()
        match line.split():
            case "run", jobs, max_jobs, poll_delay:
                print(await run(redis, int(jobs), int(max_jobs), float(poll_delay)), flush=True)
            case "enqueue", jobs:
                print(await enqueue(redis, int(jobs)), flush=True)
    await redis.aclose()


if __name__ == "__main__":
    logging.getLogger("arq").setLevel(logging.WARNING)
    uvloop.run(_obey(sys.argv[1]))
