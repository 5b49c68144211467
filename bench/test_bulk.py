"""What changes in bulk promise: how long a thousand take over HTTP, beside COPY of the same rows and one by one."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest

from bench import budgets
from bench.accounts import Role
from bench.conftest import serving
from bench.limit import COLUMNS
from bench.load import load, reply
from bench.load.lines import send_lines
from bench.operations import OPERATIONS, USERS, post
from bench.results import Figure
from bench.server import service
from bench.soak import own_mebibytes
from bench.test_jobs import hold
from bench.workers import served
from domain.entity import new_id, now_utc
from tests.sample import serving as connected
from tests.servers import PostgresServer, postgres

_numbers = itertools.count(1)


class Side(NamedTuple):
    """A service on a database of its own, and the URL of that."""

    where: str
    port: int
    url: str


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def side(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """A service without rows."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('bulk')}/bulk.sqlite3"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.create_database(f"bench_{uuid4().hex}")
    with serving("service", url) as port:
        yield Side(request.param, port, url)


@pytest.fixture
async def copy(side: Side) -> AsyncIterator[Callable[[Sequence[tuple[Any, ...]]], Any] | None]:
    """Stores rows by COPY, where there is such a thing."""
    if side.where == "sqlite":
        yield None
        return
    connection = await asyncpg.connect(side.url)
    columns = COLUMNS.split(", ")
    yield lambda rows: connection.copy_records_to_table("users", columns=columns, records=rows)
    await connection.close()


def people(count: int = budgets.BULK_ITEMS) -> list[dict[str, Any]]:
    """Users who are not there yet."""
    return [
        {
            "name": f"User number {number:04}",
            "email": f"bulk{number}@example.com",
            "role": tuple(Role)[number % 3],
            "is_active": number % 4 != 0,
            "age": 18 + number % 60,
            "tags": ["early", f"group-{number % 7}"],
        }
        for number in itertools.islice(_numbers, count)
    ]


def created(people: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is sent to store them."""
    return {"items": [{"op": "create", "data": person} for person in people]}


def request() -> bytes:
    """The same as it goes over the wire, for users who are new each time."""
    return post(f"{USERS}/$bulk", json.dumps(created(people())).encode())


def records(count: int = budgets.BULK_ITEMS) -> list[tuple[Any, ...]]:
    """The same as COPY takes it."""
    now = now_utc()
    return [
        (new_id(), now, now, one["tags"], one["name"], one["email"], one["role"], one["is_active"], one["age"], None)
        for one in people(count)
    ]


def asked(port: int) -> float:
    """The seconds of one request."""
    [seconds] = load(port, iter([request()]), connections=1, seconds=0).times
    return seconds


def posted(port: int) -> float:
    """How many users are stored in a second, one request after the other."""
    return load(port, OPERATIONS["post"]([]), connections=1, seconds=budgets.BULK_POSTS_SECONDS).rate


async def copied(copy: Callable[[Sequence[tuple[Any, ...]]], Any], count: int = budgets.BULK_ITEMS) -> float:
    """The seconds of one COPY."""
    rows = records(count)
    started = time.perf_counter()
    await copy(rows)
    return time.perf_counter() - started


async def test_a_thousand_changes_take_little_more_than_writing_their_rows(
    side: Side, copy: Callable[[Sequence[tuple[Any, ...]]], Any] | None
) -> None:
    where = side.where
    made = await asyncio.to_thread(reply, side.port, request())
    assert (made["total"], made["succeeded"]) == (budgets.BULK_ITEMS, budgets.BULK_ITEMS)

    async def measure() -> Sequence[Figure]:
        bulk, copies, posts = [], [], []
        for number in range(budgets.BULK_WARM_UP + budgets.BULK_ROUNDS):
            seconds, rate = await asyncio.to_thread(asked, side.port), await asyncio.to_thread(posted, side.port)
            copy_seconds = await copied(copy) if copy is not None else 0.0
            if number >= budgets.BULK_WARM_UP:
                bulk.append(seconds)
                posts.append(budgets.BULK_ITEMS / rate)
                copies.append(copy_seconds)
        beside = f"one by one {median(posts):.2f} s"
        figures = [
            Figure(budgets.BULK_REQUEST[where], median(bulk) * 1000, f"worst {max(bulk) * 1000:.0f} ms"),
            Figure(
                budgets.BULK_AGAINST_POSTS[where],
                median(slow / fast for slow, fast in zip(posts, bulk, strict=True)),
                beside,
            ),
        ]
        if copy is not None:
            ratio = median(ours / bare for ours, bare in zip(bulk, copies, strict=True))
            figures.append(Figure(budgets.BULK_AGAINST_COPY, ratio, f"COPY {median(copies) * 1000:.1f} ms"))
        return figures

    await hold(measure)


def lines(count: int) -> list[bytes]:
    """Lines that store users, as they go over the wire."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    everybody = [f'{{"op":"create","data":{encode(person)}}}\n'.encode() for person in people(count)]
    return [b"".join(everybody[at : at + 500]) for at in range(0, count, 500)]


async def streamed(port: int, chunks: Sequence[bytes], count: int) -> float:
    """The seconds of one request of lines."""
    started = time.perf_counter()
    summary = await send_lines(port, f"{USERS}/$bulk?mode=partial", chunks)
    assert (summary["total"], summary["succeeded"]) == (count, count)
    return time.perf_counter() - started


async def test_lines_take_no_longer_than_as_many_items_in_requests(
    side: Side, copy: Callable[[Sequence[tuple[Any, ...]]], Any] | None
) -> None:
    where, count = side.where, budgets.LINES

    async def measure() -> Sequence[Figure]:
        rounds = []
        for number in range(1 + budgets.LINES_ROUNDS):
            seconds = await streamed(side.port, lines(count), count)
            requests = [await asyncio.to_thread(asked, side.port) for _ in range(count // budgets.BULK_ITEMS)]
            copy_seconds = await copied(copy, count) if copy is not None else 0.0
            if number:
                rounds.append((seconds, sum(requests), copy_seconds))
        seconds = median(ours for ours, _, _ in rounds)
        beside = f"{count / seconds:,.0f} lines/s"
        figures = [Figure(budgets.LINES_AGAINST_BULK[where], median(ours / each for ours, each, _ in rounds), beside)]
        if copy is not None:
            ratio = median(ours / bare for ours, _, bare in rounds)
            figures.append(Figure(budgets.LINES_AGAINST_COPY, ratio, f"{beside}, COPY {count / seconds * ratio:,.0f}"))
        return figures

    await hold(measure)


async def most_memory(pid: int, work: Coroutine[Any, Any, float]) -> float:
    """The MiB that a process had at most while some work was done."""
    task, most = asyncio.create_task(work), own_mebibytes(pid)
    while not task.done():
        await asyncio.wait([task], timeout=0.02)
        most = max(most, own_mebibytes(pid))
    await task
    return most


async def test_ten_times_the_lines_take_no_more_memory(postgres_server: PostgresServer) -> None:
    async def measure() -> Sequence[Figure]:
        # Of its own each time: a process that has done this once keeps what it needed.
        with served("service", postgres_server.create_database(f"bench_{uuid4().hex}")) as (port, pid):
            first, second = [
                await most_memory(pid, streamed(port, lines(count), count))
                for count in (budgets.LINES, budgets.MORE_LINES)
            ]
        return [Figure(budgets.LINES_MEMORY, second - first, f"{first:.0f} to {second:.0f} MiB")]

    await hold(measure)


STATEMENTS = re.compile(r"LOG:  (?:statement|execute [^:]+): (\w+)")


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"op": "create", "data": {}}, ["BEGIN", "SAVEPOINT", "COPY", "RELEASE", "COMMIT"]),
        ({"op": "update", "data": {"age": 7}}, ["BEGIN", "SELECT", "SAVEPOINT", "UPDATE", "RELEASE", "COMMIT"]),
        ({"op": "upsert", "data": {"age": 8}}, ["BEGIN", "SELECT", "SAVEPOINT", "UPDATE", "RELEASE", "COMMIT"]),
        ({"op": "delete"}, ["BEGIN", "SELECT", "SAVEPOINT", "DELETE", "RELEASE", "COMMIT"]),
    ],
    ids=lambda change: change["op"] if isinstance(change, dict) else "",
)
async def test_a_thousand_changes_are_a_handful_of_statements(change: dict[str, Any], expected: list[str]) -> None:
    with postgres(settings={"log_statement": "all"}) as server:
        log = server.directory / "log"
        async with connected(service(server.create_database(f"bench_{uuid4().hex}"))) as client:
            made = await client.post(f"{USERS}/$bulk", json=created(warm := people()))
            ids = [item["id"] for item in made.json()["items"]]
            # The first time, drivers ask the server about its types.
            for start, end in ((0, 1), (1, len(ids))):
                items = [
                    {**change, "id": id, **({"data": {**person, **change["data"]}} if "data" in change else {})}
                    for id, person in zip(ids[start:end], warm[start:end], strict=True)
                ]
                sent = created(people()) if change["op"] == "create" else {"items": items}
                before = len(STATEMENTS.findall(log.read_text(errors="replace")))
                reply = await client.post(f"{USERS}/$bulk", json=sent)
                assert reply.json()["succeeded"] == len(sent["items"]), reply.text[:500]
        assert STATEMENTS.findall(log.read_text(errors="replace"))[before:] == expected
