"""The doorbell over Redis: arq carries the rings, and a blocking pop takes the place of its polling."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from arq.constants import job_key_prefix, retry_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from arq.worker import Worker, func
from redis.exceptions import RedisError

from domain.redis_url import parse_redis_url
from infra.queue.connection import Client, decode, encode

logger = logging.getLogger("millrace.queue")

# How many rings of a queue wait for a worker and for how long: one is enough to have a worker look for many jobs.
MOST_RINGS, RING_SECONDS = 100, 60
# How long a worker waits for the bell before it looks at the queue all the same; well below the socket's timeout.
BELL_SECONDS = 0.25
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
CALM_SECONDS, CLOSE_SECONDS, LEAVE_SECONDS = 1.0, 1.0, 0.3


class ArqDoorbell:
    """Wakes workers in all processes that share a Redis and a `namespace`; it belongs to one event loop.

    Rings are lost while Redis is away; `lost_rings` counts them. `worker_id` names this process in the health records
    of the queues it answers. Raises `Misconfigured` for a URL that is none.
    """

    def __init__(self, redis_url: str, *, namespace: str, worker_id: str | None = None) -> None:
        self._address = parse_redis_url(redis_url)
        self._namespace = namespace
        self._worker_id = worker_id or uuid4().hex
        self._redis = Client(self._address)
        self._rung: dict[str, str] = {}
        self._rings = 0
        self._flushing: asyncio.Task[None] | None = None
        self._is_broken = False
        self._is_closed = False
        self.lost_rings = 0

    def ring(self, queue: str, job_id: str) -> None:
        """Wake a worker of `queue`; rings that come while others are on their way become one."""
        if self._is_closed or (len(self._rung) >= MOST_RINGS and queue not in self._rung):
            self.lost_rings += 1
            return
        self._rung[queue] = job_id
        self._rings += 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    @asynccontextmanager
    async def answered(self, queues: Sequence[str], wake: Callable[[], None]) -> AsyncIterator[None]:
        """Call `wake` for rings of these queues, and whenever Redis has been reached, while the block lasts."""
        if not (log := logging.getLogger("arq")).level:
            # Every ring would be two lines.
            log.setLevel(logging.WARNING)
        answering = [asyncio.create_task(self._answer(queue, wake)) for queue in dict.fromkeys(queues)]
        try:
            yield
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    async def close(self) -> None:
        """Send what has been rung, if that takes no longer than a second, and disconnect."""
        self._is_closed = True
        if self._flushing is not None:
            await asyncio.wait([self._flushing], timeout=CLOSE_SECONDS)
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        self.lost_rings += self._rings
        self._rings = 0
        await self._redis.disconnect()

    async def _flush(self) -> None:
        while self._rung:
            # Redis is not asked more than once a second whether it is back.
            await asyncio.sleep(CALM_SECONDS if self._is_broken else 0)
            rung, self._rung = self._rung, {}
            rings = self._rings
            try:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for queue, job_id in rung.items():
                        _enqueue(pipeline, self._name(queue), job_id)
                    await pipeline.execute()
            except Exception as error:  # noqa: BLE001 - whoever rang is done, and the database knows about the job
                self.lost_rings += rings
                self._broke(error)
            else:
                self._works()
            self._rings -= rings

    async def _answer(self, queue: str, wake: Callable[[], None]) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            calm_at = loop.time() + LONGEST_PAUSE_SECONDS
            worker = self._answerer(self._name(queue), wake)
            try:
                try:
                    await worker.main()
                finally:
                    # Also what fails here must not leave this queue deaf.
                    await worker.leave()
            except Exception as error:  # noqa: BLE001 - without a doorbell workers are late, and go on
                self._broke(error)
            _end_if_cancelled()
            # A connection that has lasted for a while is soon made again; one that keeps breaking is not.
            pause = FIRST_PAUSE_SECONDS if loop.time() > calm_at else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    def _answerer(self, name: str, wake: Callable[[], None]) -> "_Answerer":
        async def start(ctx: dict[Any, Any]) -> None:
            self._works()
            # Who knows what was lost meanwhile.
            wake()

        health_key = f"{name}:health-check:{self._worker_id}"
        return _Answerer(wake, Client(self._address), queue_name=name, on_startup=start, health_check_key=health_key)

    def _broke(self, error: Exception) -> None:
        if not self._is_broken:
            surprise = None if isinstance(error, RedisError | OSError) else error
            logger.warning("the doorbell is broken (%s); workers look for jobs by themselves", error, exc_info=surprise)
        self._is_broken = True

    def _works(self) -> None:
        if self._is_broken:
            logger.warning("the doorbell works again")
        self._is_broken = False

    def _name(self, queue: str) -> str:
        return f"millrace:{self._namespace}:{queue}"


class _Answerer(Worker):
    """arq's worker of one queue, which waits for a bell where arq would sleep.

    Getting at a job costs arq seven round trips, so the bell wakes already, and the job only if another had the bell.
    """

    def __init__(self, wake: Callable[[], None], client: Client, **settings: Any) -> None:
        super().__init__(
            [func(self._answer, name="wake", max_tries=1)],
            redis_pool=client,
            handle_signals=False,
            max_jobs=1,
            job_timeout=5,
            keep_result=0,
            poll_delay=0,
            health_check_interval=10,
            job_serializer=encode,
            job_deserializer=decode,
            **settings,
        )
        self._wake = wake
        self._client = client
        self._heard = b""
        self._iteration: asyncio.Future[None] = self.loop.create_future()
        self._iteration.set_result(None)

    async def _answer(self, ctx: dict[Any, Any], job_id: str) -> None:
        if ctx["job_id"].encode() != self._heard:
            self._wake()

    async def _poll_iteration(self) -> None:
        _end_if_cancelled()
        # A cancellation in the middle of it would leave a transaction of arq's open.
        self._iteration = asyncio.create_task(self._look())
        await asyncio.shield(self._iteration)
        if self.tasks:
            await asyncio.wait(self.tasks.values())
            return
        # Its types know whole seconds only.
        redis: Any = self.pool
        if heard := await redis.blpop(_bell(self.queue_name), timeout=BELL_SECONDS):
            self._heard = heard[1]
            self._wake()

    async def _look(self) -> None:
        """arq's own iteration, after many rings have become one: whoever else may be needed has bells to hear."""
        await self.pool.zremrangebyrank(self.queue_name, 0, -2)
        await super()._poll_iteration()

    async def run_job(self, job_id: str, score: int) -> None:
        """A ring that has expired, or that a worker died with, is still a ring and not worth arq's warning."""
        payload, tries = await self.pool.mget(job_key_prefix + job_id, retry_key_prefix + job_id)
        if payload and not tries:
            await super().run_job(job_id, score)
        else:
            await self.finish_failed_job(job_id, None)
            self._wake()

    async def leave(self) -> None:
        """Unlike arq's `close` it interrupts no wake, and needs no Redis that answers."""
        try:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await asyncio.wait([self._iteration])
                    await asyncio.wait([self._iteration, *self.tasks.values()])
                    await self.pool.delete(self.health_check_key)
        finally:
            await self._client.disconnect()
            await asyncio.gather(self._iteration, *self.tasks.values(), return_exceptions=True)


def _enqueue(pipeline: Any, name: str, job_id: str) -> None:
    """What arq's `enqueue_job` does, without a question first, bounded in number and time, and with a bell."""
    id, now, bell = f"{name}:{uuid4().hex}", timestamp_ms(), _bell(name)
    job = serialize_job("wake", (job_id,), {}, None, now, serializer=encode)
    pipeline.setex(job_key_prefix + id, RING_SECONDS, job)
    # arq leaves alone what is due later, and the worker's clock may be slow.
    pipeline.zadd(name, {id: now - RING_SECONDS * 1000})
    pipeline.zremrangebyrank(name, 0, -1 - MOST_RINGS)
    pipeline.expire(name, RING_SECONDS)
    pipeline.rpush(bell, id)
    pipeline.ltrim(bell, -MOST_RINGS, -1)
    pipeline.expire(bell, RING_SECONDS)


def _end_if_cancelled() -> None:
    """Before Python 3.12 a cancellation is now and then lost in `asyncio.wait_for`, which the Redis client uses."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _bell(name: str) -> str:
    return f"{name}:bell"
