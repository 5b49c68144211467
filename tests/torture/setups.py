"""The two ways in which the mill is run when it is tortured. Of each kind one process has a clock that is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import postgres, redis
from tests.torture.actors import SKEW, Company, company
from tests.torture.outages import of_postgres, of_redis
from tests.torture.storm import Outage

HOUR = 3600
EARLY, LATE = {SKEW: str(-HOUR)}, {SKEW: str(HOUR)}
Stage = tuple[Company, list[Outage]]
"""The actors, none of which runs yet, and what can happen to the servers they use."""


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Stage]:
    """A file, two services that work themselves, and a worker."""
    with company(folder, f"sqlite:///{folder / 'mill.sqlite3'}") as actors:
        actors.server()
        actors.server(**EARLY)
        actors.worker(**LATE)
        yield actors, []


@contextmanager
def on_postgres(folder: Path, *, repeated: int = 1, longest_seconds: float = 1.0) -> Iterator[Stage]:
    """PostgreSQL and Redis, two services, three workers; every outage comes `repeated` times, for `longest_seconds`."""
    with (
        postgres(fsync=True) as database,
        redis() as bell,
        company(folder, database.create_database("mill"), redis_url=bell.url) as actors,
    ):
        actors.server()
        actors.server(**EARLY)
        actors.worker()
        actors.worker(**EARLY)
        actors.worker(**LATE)
        yield actors, [*of_redis(bell, longest_seconds), *of_postgres(database, longest_seconds)] * repeated
