"""Runs one job: a light task in the event loop, one that may block in a process of its own."""

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

import msgspec

from domain.context import Context, acting_as, current_context
from domain.errors import Invalid, Unavailable
from domain.job_ports import Effect, JobQueue, RunHooks
from domain.jobs import Job
from domain.ports import Runner
from domain.runs import Reason, Run, RunEnd, raised, returned, timed_out
from domain.tasks import RunningJob, Task, references, resolved
from domain.tracing import Role, Span, Tracer
from service.managers.reports import Report

ResultT = TypeVar("ResultT")
_encode = msgspec.json.Encoder().encode
CANCELED = RunEnd(reason=Reason.CANCELED)
# How soon a database that is away is asked again for what a run begins with.
PAUSE_SECONDS = 0.25
# How long a worker that ends waits for a task that takes no notice of its cancellation.
DEAF_SECONDS = 5.0

logger = logging.getLogger("millrace.jobs")


class Stop(enum.Enum):
    """Why a run is stopped: somebody asked for it, the lease is gone, or the worker ends."""

    CANCELED = enum.auto()
    LOST = enum.auto()
    GIVEN_BACK = enum.auto()


class ActiveRun:
    """A job that runs now."""

    def __init__(self, job: Job, task: Task, runner: Runner) -> None:
        self.job = job
        self.task = task
        self.stopped: Stop | None = None
        self.effect: Effect | None = None
        self.handle: RunningJob | None = None
        self.future: asyncio.Task[RunEnd | None] | None = None
        self._runner = runner

    def stop(self, why: Stop) -> None:
        """Stop it; a cancellation gives the task the chance to end by itself, everything else is at once."""
        if self.stopped is not None and (self.stopped is why or why is Stop.CANCELED):
            return
        self.stopped = why
        if self.handle is not None:
            self.handle.cancel()
        if self.task.is_process and why is Stop.CANCELED:
            self._runner.cancel(self.job.id)
        elif self.future is not None:
            self.future.cancel()


OnEnd = Callable[[ActiveRun, RunEnd | None], None]


def _broken_off(run: ActiveRun) -> RunEnd | None:
    return CANCELED if run.stopped is Stop.CANCELED else None


class Runs:
    """Starts runs. Every one ends by calling `on_end`, with None when it was broken off.

    `hooks` surround the runs of their kind.
    """

    def __init__(
        self,
        queue: JobQueue,
        runner: Runner,
        hooks: Mapping[str, RunHooks] | None = None,
        find_tracer: Callable[[], Tracer | None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._runner = runner
        self._hooks = hooks or {}
        self._find_tracer = find_tracer
        self._futures: set[asyncio.Task[RunEnd | None]] = set()
        self._is_closing = False

    def start(self, job: Job, task: Task, report: Report, on_end: OnEnd) -> ActiveRun:
        """Begin to run a job."""
        run = ActiveRun(job, task, self._runner)
        name = f"job {job.id} ({job.kind})"
        run.future = asyncio.get_running_loop().create_task(self._run(run, report), name=name)
        self._futures.add(run.future)
        run.future.add_done_callback(lambda future: self._done(run, future, on_end))
        return run

    def _done(self, run: ActiveRun, future: "asyncio.Task[RunEnd | None]", on_end: OnEnd) -> None:
        self._futures.discard(future)
        # One that was stopped before it had begun has not run a single line.
        on_end(run, _broken_off(run) if future.cancelled() or future.exception() else future.result())

    async def close(self) -> None:
        """Break off whatever still runs, and end the processes."""
        self._is_closing = True
        for future in list(self._futures):
            future.cancel()
        if self._futures:
            # Its lease is gone, so others run the job; waiting for ever would only keep the worker from ending.
            _, pending = await asyncio.wait(self._futures, timeout=DEAF_SECONDS)
            for run in pending:
                logger.error("%s does not end although it is canceled; it is left behind", run.get_name())
        await self._runner.stop()

    async def _run(self, run: ActiveRun, report: Report) -> RunEnd | None:
        try:
            return await self._end_of(run, report)
        except asyncio.CancelledError as error:
            if run.stopped is not None or self._is_closing:
                return _broken_off(run)
            # Something that the task waited for was canceled, and not the task.
            return raised(error, run.task)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is how its run ends
            return raised(error, run.task)

    async def _end_of(self, run: ActiveRun, report: Report) -> RunEnd:
        job = run.job
        args = await self._arguments(run, report)
        if run.stopped is Stop.CANCELED:
            # Before there was anything to be told.
            return CANCELED
        with self._tracing(job) as span:
            context = Context(
                request_id=job.trace_id or job.id,
                principal=job.principal,
                tenant=job.tenant,
                traceparent=span.traceparent if span is not None else job.traceparent or "",
            )
            with acting_as(context):
                hooks = self._hooks.get(job.kind)
                end = await (self._ran(run, args, report) if hooks is None else self._surrounded(run, hooks, report))
            if span is not None and end.reason is not Reason.COMPLETED:
                span.fail(end.reason.value)
            return end

    @contextmanager
    def _tracing(self, job: Job) -> Iterator[Span | None]:
        """A span for a run, as a child of what has submitted the job; None without traces."""
        tracer = self._find_tracer()
        if tracer is None:
            yield None
            return
        attributes: dict[str, str | int] = {
            "messaging.system": "millrace",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.queue,
            "messaging.message.id": job.id,
            "millrace.job.kind": job.kind,
            "millrace.job.attempt": job.attempt,
            "millrace.request_id": job.trace_id or job.id,
        }
        span = tracer.start(f"run {job.kind}", Role.CONSUMER, job.traceparent, attributes)
        try:
            yield span
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
        finally:
            span.end()

    async def _surrounded(self, run: ActiveRun, hooks: RunHooks, report: Report) -> RunEnd:
        async with AsyncExitStack() as stack:
            surroundings = await _despite_outages(
                run, report, lambda: stack.enter_async_context(hooks.around(run.job, report.add))
            )
            if surroundings is None or run.stopped is Stop.CANCELED:
                return CANCELED
            end = await self._ran(run, surroundings.args, report)
            settled = await _despite_outages(run, report, lambda: surroundings.ended(end))
            if settled is None:
                return CANCELED
            end, run.effect = settled
            return end

    async def _ran(self, run: ActiveRun, args: Mapping[str, Any], report: Report) -> RunEnd:
        job, task = run.job, run.task
        if task.is_process:
            return await self._runner.run(task, _call_of(run, args), report.add)
        run.handle = RunningJob(
            id=job.id,
            kind=job.kind,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            send=report.add,
            graph_id=job.graph_id,
            trace_id=job.trace_id,
            timeout_seconds=job.timeout_seconds,
            fire_at=job.fire_at,
        )
        return await self._call(run, task.decoded(args), run.handle)

    async def _call(self, run: ActiveRun, args: Any, handle: RunningJob) -> RunEnd:
        seconds = run.job.timeout_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                return returned(await run.task.called(args, handle))
        except TimeoutError as error:
            return timed_out(seconds or 0) if limit.expired() else raised(error, run.task)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a task raises is how its run ends
            # What it raises when it is stopped is its way to stop.
            return CANCELED if run.stopped is not None else raised(error, run.task)

    async def _arguments(self, run: ActiveRun, report: Report) -> dict[str, Any]:
        """The arguments with the results of other jobs put in. Raises `Invalid` when one of them is gone."""
        job = run.job
        wanted = {reference: reference.removeprefix("job:") for reference in references(job.args)}
        if not wanted:
            return job.args
        results = await _despite_outages(run, report, lambda: self._queue.results(sorted(set(wanted.values()))))
        if results is None:
            return {}
        missing = [id for id in wanted.values() if id not in results]
        if missing:
            raise Invalid(f"The result of job {missing[0]} is not there any more")
        found = {
            reference: msgspec.json.decode(result) if (result := results[id]) is not None else None
            for reference, id in wanted.items()
        }
        filled: dict[str, Any] = resolved(job.args, found)
        return filled


async def _despite_outages(run: ActiveRun, report: Report, work: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
    """The result of `work`, however long that takes: it is no fault of a job that the database or the storage is away.

    None when the job is canceled meanwhile.
    """
    is_told = False
    while run.stopped is not Stop.CANCELED:
        try:
            return await work()
        except Unavailable as error:
            if not is_told:
                report.add({"log": f"waiting: {error}"})
            is_told = True
            await asyncio.sleep(PAUSE_SECONDS)
    return None


def _call_of(run: ActiveRun, args: Mapping[str, Any]) -> Run:
    job = run.job
    return Run(
        job_id=job.id,
        kind=job.kind,
        args=_encode(args),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        graph_id=job.graph_id,
        trace_id=job.trace_id,
        timeout_seconds=job.timeout_seconds,
        memory_mib=run.task.memory_mib,
        fire_at=job.fire_at,
        principal=job.principal,
        tenant=job.tenant,
        traceparent=current_context().traceparent,
    )
