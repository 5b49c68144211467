"""The promises with numbers: what must hold (gate) and what we aim for."""

from typing import NamedTuple


class Budget(NamedTuple):
    """One operation on one database against its limit: a bare ASGI app that makes the same reply on the same server.

    `gate` and `aim` are shares of the limit's requests per second with many connections. `p99` and `p50` bound the
    time of a request on one connection in milliseconds; `p99` is a gate, `p50` an aim; None means no promise.
    """

    operation: str
    database: str
    gate: float
    aim: float
    p99: float | None = None
    p50: float | None = None


BUDGETS = (
    Budget("get", "postgresql", gate=0.40, aim=0.60),
    Budget("page", "postgresql", gate=0.40, aim=0.90),
    Budget("list", "postgresql", gate=0.90, aim=1.50),
    Budget("query", "postgresql", gate=0.75, aim=1.00, p99=100, p50=10),
    Budget("post", "postgresql", gate=0.40, aim=0.60),
    Budget("get", "sqlite", gate=0.22, aim=0.60),
    Budget("page", "sqlite", gate=0.45, aim=0.90),
    Budget("list", "sqlite", gate=0.60, aim=0.90),
    Budget("query", "sqlite", gate=0.60, aim=0.90, p99=100, p50=10),
    Budget("post", "sqlite", gate=0.18, aim=0.60),
)
"""Gates leave a margin of two to what a quiet machine measures. Above 100 % the database writes the JSON faster."""

CACHED = tuple(
    Budget(operation, database, gate=gate, aim=aim, p99=p99, p50=2)
    for database in ("postgresql", "sqlite")
    for operation, gate, aim, p99 in (("hit", 0.30, 0.60, 10), ("304", 0.35, 0.70, 5))
)
"""Against an app that sends the same bytes and does nothing else."""

ROWS = 1_000
CONNECTIONS = 32
ROUNDS = 5
ROUND_SECONDS, MEASURED_SECONDS = 0.1, 4.0
WARM_UP_SECONDS = 0.2
LATENCY_SECONDS = 0.2
CALM, MOST_MEASUREMENTS = 1.5, 5
"""By how much the limit's own rounds may differ before it is the machine that was measured; how often that may be."""


class Promise(NamedTuple):
    """One figure of the background work in its unit. With `is_least` it must be the gate or more, else below it."""

    figure: str
    where: str
    unit: str
    gate: float
    aim: float
    is_least: bool = False

    def is_kept(self, value: float, bound: float) -> bool:
        """Whether a value is within the gate or the aim."""
        return value >= bound if self.is_least else value < bound


POSTGRES, POLLING, SQLITE = "postgresql, redis", "postgresql, polling", "sqlite"
"""A worker process woken through Redis, one without Redis, and a worker inside of the service."""

START = {where: Promise("start of a job, p50", where, "ms", gate=100, aim=10) for where in (POSTGRES, SQLITE)}
"""From the commit of the submission to the first line of the task, when the worker has nothing else to do."""

DONE = {where: Promise("no-op jobs", where, "/s", gate=200, aim=1_000, is_least=True) for where in (POSTGRES, SQLITE)}
DONE_AGAINST_ARQ = Promise("no-op jobs, to arq's best", POSTGRES, "x", gate=0.8, aim=1.0, is_least=True)

SUBMITTED_AGAINST_ARQ = Promise("submit, to arq's enqueue", POSTGRES, "x", gate=0.05, aim=0.10, is_least=True)
SUBMITTED_AGAINST_POST = Promise("$execute, to POST of a user", "postgresql", "x", 0.30, 0.60, is_least=True)
KEYED = {
    where: Promise("POST with a key, to POST", where, "x", gate=gate, aim=0.6, is_least=True)
    for where, gate in (("postgresql", 0.2), ("sqlite", 0.2))
}
REPEATED = {where: Promise("POST repeated, to POST", where, "x", 0.3, 0.8, is_least=True) for where in KEYED}
"""Requests per second with an `Idempotency-Key`: of new ones, and of one that is sent again, which changes nothing."""

SUBMITTED_IN_BULK = {
    POSTGRES: Promise("add of 1,000, to one by one", POSTGRES, "x", gate=8, aim=20, is_least=True),
    SQLITE: Promise("add of 1,000, to one by one", SQLITE, "x", gate=3, aim=10, is_least=True),
}

IDLE = {where: Promise("idle worker, of a core", where, "%", gate=2, aim=1) for where in (POSTGRES, POLLING)}
HEALTH = Promise("/health, every core burns, p99", SQLITE, "ms", gate=100, aim=20)
POLLED = Promise("job poll, every core burns, p99", SQLITE, "ms", gate=100, aim=20)
HEALTH_TRAINING = Promise("/health, every core trains, p99", SQLITE, "ms", gate=100, aim=20)
POLLED_TRAINING = Promise("job poll, every core trains, p99", SQLITE, "ms", gate=100, aim=20)

START_WARM_UP, START_SAMPLES = 15, 60
BACKLOG = 1_000
BULK = 1_000
ONE_BY_ONE = 200
JOB_ROUNDS = 5
ARQ_SETTINGS = ((100, 0.01), (200, 0.01), (1_000, 0.01))
"""What arq may choose from: how many jobs at a time, and the seconds between two looks at its queue."""
SUBMIT_SECONDS = 0.3
IDLE_SECONDS = 10.0
BUSY_SECONDS = 1.5
ENSEMBLE_MEMBERS, ENSEMBLE_ROWS, ENSEMBLE_SAMPLES = 10, 10_000, 1_000
ENSEMBLE = {
    strategy: (
        Promise(f"{strategy}, to numpy", "10,000 x 1,000", "x", gate=slow, aim=quick),
        Promise(f"{strategy}, memory", "10,000 x 1,000", "x", gate=2, aim=1.2),
    )
    for strategy, slow, quick in (("quantile_average", 2, 1), ("linear_pool", 0.3, 0.1))
}
"""Seconds by those of sorting and averaging whole arrays; memory, the result included, by that of one member."""

FORECAST_READ = Promise("frame to forecast, memory", "10,000 x 1,000", "x", gate=2, aim=1.2)

JOINED_ROWS, JOINED_SAMPLES = 2_000, 1_000
JOINED = Promise("job that combines, memory", "2,000 x 1,000", "x", gate=1.5, aim=1.1)
"""Of ten members by that of two: every member's numbers are in memory while they are read, and not all at once."""

CHART_SPEC = Promise("chart of 10,000 rows, its spec", "in memory", "ms", gate=250, aim=50)
CHART_PICTURES = Promise("pictures of charts", "one process", "/s", gate=2, aim=10, is_least=True)

START_UP = Promise("start of a service, processor", SQLITE, "s", gate=1.5, aim=0.7)
START_UP_TO_BARE = Promise("start, to its bare libraries", SQLITE, "x", gate=3.0, aim=1.3)
START_UP_MEMORY = Promise("idle memory of a service", SQLITE, "MiB", gate=90, aim=60)
"""`millrace serve` around one entity until `/health` answers; the bare libraries answer it from a constant."""
BULK_ITEMS, BULK_ROUNDS, BULK_WARM_UP = 1_000, 7, 2
BULK_POSTS_SECONDS = 0.3
BULK_REQUEST = {where: Promise("$bulk of 1,000", where, "ms", gate=1_000, aim=60) for where in ("postgresql", "sqlite")}
BULK_AGAINST_POSTS = {
    where: Promise("$bulk, to POST one by one", where, "x", gate=10, aim=50, is_least=True)
    for where in ("postgresql", "sqlite")
}
BULK_AGAINST_COPY = Promise("$bulk of 1,000, to bare COPY", "postgresql", "x", gate=10, aim=3)
"""Seconds of a request by those of COPY of the same rows, from Python values that are ready, to the commit."""

LINES, MORE_LINES, LINES_ROUNDS = 20_000, 200_000, 5
LINES_AGAINST_BULK = {
    where: Promise("lines of $bulk, to $bulk of 1,000", where, "x", gate=2, aim=1) for where in ("postgresql", "sqlite")
}
LINES_AGAINST_COPY = Promise("lines of $bulk, to bare COPY", "postgresql", "x", gate=12, aim=3)
LINES_MEMORY = Promise("10x lines of $bulk: more memory", "postgresql", "MiB", gate=16, aim=4)
"""On SQLite the pages of its file come on top, 64 MiB at most."""

QUERY_READ = Promise("query string, to its bare text", "in memory", "x", gate=7, aim=3)
BODY_READ = Promise("body to entity, to bare msgspec", "in memory", "x", gate=4, aim=1.5)
