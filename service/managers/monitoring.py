"""What a service measures of its own work, and how it notices that its event loop is late."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from domain.measures import SECONDS, Measures
from domain.ml import PREDICT, TRAIN
from domain.tracing import Tracer
from service.managers.job_measures import JobMeasures

LAG_SECONDS = 0.5
# So fine that what one slow handler does to all others is seen.
_LAGS = (0.001, *SECONDS)


class Monitoring:
    """The measures and the tracer of one service.

    `prepare` is called before the measures are shown, and renews what is read elsewhere. `make_tracer` makes what
    traces as long as the service runs.
    """

    def __init__(self, *, has_jobs: bool = False, has_model: bool = False) -> None:
        self.measures = Measures()
        self.jobs = JobMeasures(self.measures) if has_jobs else None
        self._asked = (
            {
                TRAIN: self.measures.counter("ml_train_jobs_total", "Trainings that were asked for"),
                PREDICT: self.measures.counter("ml_predict_jobs_total", "Predictions that were asked for"),
            }
            if has_model
            else {}
        )
        self.make_tracer: Callable[[], Tracer] | None = None
        self._tracer: Tracer | None = None
        self.preparations: list[Callable[[], Awaitable[None]]] = []
        self._lag = self.measures.histogram(
            "millrace_event_loop_lag_seconds", f"How late a timer of {LAG_SECONDS:g} s was", bounds=_LAGS
        )

    def find_tracer(self) -> Tracer | None:
        """What traces, while the service runs and if it does."""
        return self._tracer

    async def prepare(self) -> None:
        """Renew what is read elsewhere."""
        await asyncio.gather(*(prepare() for prepare in self.preparations))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure how late the event loop is, and trace, for a block."""
        # First, for it may refuse to start.
        tracer = self._tracer = self.make_tracer() if self.make_tracer is not None else None
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            self._tracer = None
            if tracer is not None:
                await tracer.close()

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(time.perf_counter() - before - LAG_SECONDS, 0.0))

    def asked(self, kind: str) -> None:
        """Count what was asked of a model, by the kind of its job."""
        self._asked[kind].add()
