"""What cost does when there is more of something: rows, connections, server processes. `python -m bench.scaling`

It is no gate. The sizes of a series take turns, the best round counts, and it is shown as a share of the first figure.
"""

import asyncio
import itertools
import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import asyncpg
import msgspec

from bench.load import Load, load
from bench.load.run import serving
from bench.operations import USERS, get
from bench.record import machine
from bench.results import milliseconds
from bench.server import service
from bench.workers import served
from domain.wire import timestamp_text
from tests.servers import postgres

FILE = Path(__file__).parents[1] / "build" / "bench" / "scaling.json"
ROWS = (1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WORKERS = (1, 2)
ROUNDS, SECONDS, WARM_UP_SECONDS = 12, 0.12, 0.2
_FILTER = quote('{"is_active":true,"age":{"gte":30}}')


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a series: how much of it there was, requests per second, p50 and p99 in milliseconds."""

    series: str
    where: str
    size: int
    rate: float
    p50: float
    p99: float


class Scaling(msgspec.Struct, kw_only=True):
    """All series, and the machine that they were measured on."""

    machine: str
    points: list[Point]


def row_id(number: int) -> str:
    """The id of a row that `fill` makes."""
    return f"01{number:024d}"


def operations(rows: int) -> Mapping[str, Iterator[bytes]]:
    """What is asked of a table with so many rows."""
    chosen = random.Random(7)
    by_id = (get(f"{USERS}/{row_id(chosen.randrange(rows))}") for _ in itertools.count())
    last = rows // 50 - 1
    return {
        "GET by id": by_id,
        "first 50, by cursor": itertools.repeat(get(f"{USERS}?limit=50")),
        "first 50 of a filter by age": itertools.repeat(get(f"{USERS}?limit=50&filter={_FILTER}&sort=-age")),
        "first page of 50, with the total": itertools.repeat(get(f"{USERS}?page=1&size=50")),
        "last page of 50, with the total": itertools.repeat(get(f"{USERS}?page={last}&size=50")),
    }


async def fill(url: str, rows: int) -> None:
    """Have the database itself make the rows."""
    async with service(url).lifespan():
        pass
    columns = "id, created_at, updated_at, tags, name, email, role, is_active, age"
    common = "'User ' || n, 'user' || n || '@example.com', 'viewer', n % 4 <> 0, 18 + n % 60"
    if url.startswith("sqlite"):
        now = timestamp_text(datetime.now(UTC))
        numbers = f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {rows - 1})"
        values = f"'01' || printf('%024d', n), '{now}', '{now}', '[]', {common}"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            file.execute(f"INSERT INTO users ({columns}) {numbers} SELECT {values} FROM s")
            file.execute("ANALYZE")
        return
    values = f"'01' || lpad(n::text, 24, '0'), now(), now(), '{{}}', {common}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"INSERT INTO users ({columns}) SELECT {values} FROM generate_series(0, {rows - 1}) AS n")
    await connection.execute("VACUUM ANALYZE users")
    await connection.close()


def measured(series: str, where: str, sizes: Mapping[int, tuple[int, Iterator[bytes], int]]) -> Iterator[Point]:
    """A series: for each size the port, the requests and the connections. Its rounds take turns with the others'."""
    for port, requests, connections in sizes.values():
        load(port, requests, connections=connections, seconds=WARM_UP_SECONDS)
    rounds: dict[int, list[Load]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size, (port, requests, connections) in sizes.items():
            rounds[size].append(load(port, requests, connections=connections, seconds=SECONDS))
    for size, loads in rounds.items():
        # The best round: whatever else the machine does only adds to the time.
        best = min(loads, key=lambda one: milliseconds(one.times, 50))
        found = Point(
            series=series,
            where=where,
            size=size,
            rate=max(one.rate for one in loads),
            p50=milliseconds(best.times, 50),
            p99=milliseconds(best.times, 99),
        )
        print(
            f"{series}, {where}: {size:,}: {found.rate:,.0f} /s, p50 {found.p50:.2f} ms, p99 {found.p99:.2f} ms",
            flush=True,
        )
        yield found


def by_rows(urls: Mapping[str, Callable[[], str]]) -> Iterator[Point]:
    """One connection, tables of growing size."""
    for where, url_of in urls.items():
        with ExitStack() as stack:
            ports: dict[int, int] = {}
            for rows in ROWS:
                url = url_of()
                asyncio.run(fill(url, rows))
                ports[rows], _ = stack.enter_context(served("service", url))
            for name in operations(1):
                sizes = {rows: (port, operations(rows)[name], 1) for rows, port in ports.items()}
                yield from measured(name, where, sizes)


def by_connections(urls: Mapping[str, Callable[[], str]]) -> Iterator[Point]:
    """A thousand rows, more and more connections."""
    for where, url_of in urls.items():
        url = url_of()
        asyncio.run(fill(url, 1_000))
        with served("service", url) as (port, _):
            sizes = {count: (port, operations(1_000)["GET by id"], count) for count in CONNECTIONS}
            yield from measured("GET by id, connections", where, sizes)


def by_workers(urls: Mapping[str, Callable[[], str]]) -> Iterator[Point]:
    """A thousand rows, 32 connections, more and more server processes."""
    for where, url_of in urls.items():
        url = url_of()
        asyncio.run(fill(url, 1_000))
        changes = {"DATABASE_URL": url, "LOG_LEVEL": "WARNING"}
        with ExitStack() as stack:
            ports = {
                workers: stack.enter_context(serving("bench.scaled_service:app", workers, changes))
                for workers in WORKERS
            }
            for name in ("GET by id", "last page of 50, with the total"):
                sizes = {workers: (port, operations(1_000)[name], 32) for workers, port in ports.items()}
                yield from measured(f"{name}, processes", where, sizes)


@contextmanager
def databases() -> Iterator[Mapping[str, Callable[[], str]]]:
    """Where tables are made: by the name of the database, what makes an empty one."""
    numbers = itertools.count()

    def postgresql() -> str:
        return server.create_database(f"scaling_{next(numbers)}")

    with tempfile.TemporaryDirectory() as folder, postgres() as server:
        yield {"sqlite": lambda: f"sqlite:///{folder}/{next(numbers)}.sqlite3", "postgresql": postgresql}


def main() -> None:
    """Measure, keep the figures, and write them into the documentation."""
    series = {"rows": by_rows, "connections": by_connections, "workers": by_workers}
    wanted = sys.argv[1:] or list(series)
    with databases() as urls:
        for name in wanted:
            _keep(list(series[name](urls)))


def _keep(found: Sequence[Point]) -> None:
    known = msgspec.json.decode(FILE.read_bytes(), type=Scaling).points if FILE.exists() else []
    measured = {(one.series, one.where) for one in found}
    points = [*(one for one in known if (one.series, one.where) not in measured), *found]
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(msgspec.json.encode(Scaling(machine=machine(), points=points)))


if __name__ == "__main__":
    main()
