"""How the databases find jobs: by their indexes, and never by reading a whole table."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from domain.entity import new_id, now_utc
from domain.graphs import Edge, Graph, On
from domain.jobs import JobState, NewJob, Retention
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import claim, ending, open_jobs

ENDED, DEAD, QUEUED, KEYED, LATER, CHAINS = 20_000, 1_000, 4_000, 400, 1_000, 1_000
PARTIAL = {f"millrace_jobs_{name}" for name in ("claim", "keyed", "risky", "later", "leases", "slots")}
"""Whoever reads all of one of these reads what is left to do, and not what was done."""
LARGE = {"millrace_jobs": "jgu", "millrace_job_edges": "e", "millrace_job_events": "", "millrace_job_logs": ""}
"""The tables, and by which names else statements call them."""


class Undone(Exception):
    """Raised to roll back what was only to be looked at."""


@pytest.fixture(scope="module")
async def jobs(module_database_url: str) -> AsyncIterator[JobDatabase]:
    async with open_jobs(module_database_url) as found:
        await fill(found)
        yield found


async def fill(jobs: JobDatabase) -> None:
    """Many that have ended, some of each sort that have not."""
    await add(jobs, [NewJob(kind="work") for _ in range(ENDED)], JobState.COMPLETED)
    await add(jobs, [NewJob(kind="work", unique_key=f"key {n}") for n in range(DEAD)], JobState.DEAD)
    await add(jobs, [NewJob(kind="work", unique_key=f"key {n}") for n in range(0, DEAD, 2)])
    await add(jobs, [NewJob(kind="work", priority=n % 3) for n in range(QUEUED)])
    await add(jobs, [NewJob(kind="work", concurrency_key=f"lane {n % 40}") for n in range(KEYED)])
    await add(jobs, [NewJob(kind="work", delay_seconds=n - LATER / 2 + 1e6) for n in range(LATER)])
    for _ in range(CHAINS):
        await add_chain(jobs)
    lost = [job.id for job in await claim(jobs, 100)]
    arguments = jobs.arguments()
    await jobs.engine.execute(
        f"UPDATE millrace_jobs SET lease_until = {jobs.dialect.ago('60.0')} WHERE {jobs.ids(arguments, lost[:20])}",
        *arguments.values,
    )
    await jobs.reap(3)
    await jobs.engine.execute(
        "INSERT INTO millrace_job_logs (job_id, at, attempt, stream, text) "
        "SELECT id, submitted_at, 1, 'log', 'a line' FROM millrace_jobs"
    )
    if jobs.is_postgres:
        await jobs.engine.execute("ANALYZE")


async def add(jobs: JobDatabase, new: list[NewJob], ended: JobState | None = None) -> None:
    for start in range(0, len(new), 5_000):
        await jobs.insert(new[start : start + 5_000])
    if ended is not None:
        status = "completed" if ended is JobState.COMPLETED else "failed"
        await jobs.engine.execute(
            f"UPDATE millrace_jobs SET state = '{ended}', status = '{status}', finished_at = submitted_at "
            "WHERE state = 'queued'"
        )


async def add_chain(jobs: JobDatabase) -> str:
    """A graph of three nodes, one after the other; returns the id of the last."""
    graph = Graph(submitted_at=now_utc(), size=3)
    new = [NewJob(kind="work", graph_id=graph.id, waits_for=int(n > 0), delay_seconds=1e6) for n in range(3)]
    edges = [Edge(first.id, then.id, On.SUCCESS) for first, then in pairwise(new)]
    await jobs.insert_graph(graph, new, edges)
    return new[-1].id


class Plans:
    """How each statement is carried out that a block has run: what is read whole, and which indexes are used."""

    def __init__(self) -> None:
        self.whole: list[str] = []
        self.indexes: set[str] = set()

    def add_postgres(self, node: dict[str, Any], sql: str, above: str = "") -> None:
        """Take a node of a plan, and those below it."""
        # A limit bounds what is read for it, unless some of that is thrown away.
        is_bounded = above == "Limit" and "Filter" not in node
        index = node.get("Index Name", "")
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE:
            self.whole.append(f"{node['Relation Name']} of {sql}")
        elif index.startswith("millrace_job") and index not in PARTIAL and "Index Cond" not in node and not is_bounded:
            self.whole.append(f"{index} of {sql}")
        self.indexes |= {index} - {""}
        for inner in node.get("Plans", []):
            self.add_postgres(inner, sql, node["Node Type"])

    def add_sqlite(self, detail: str, sql: str) -> None:
        """Take a line of a plan."""
        verb, _, rest = detail.partition(" ")
        name, _, how = rest.partition(" ")
        is_large = any(name == table or (name and name in short) for table, short in LARGE.items())
        found = re.search(r"INDEX (\w+)", how)
        index = found[1] if found else ""
        if "AUTOMATIC" in how or (verb == "SCAN" and is_large and index not in PARTIAL):
            self.whole.append(f"{detail} of {sql}")
        self.indexes |= {index} - {""}


async def planned(jobs: JobDatabase, patch: pytest.MonkeyPatch, work: Callable[[], Awaitable[Any]]) -> Plans:
    """The plans of the statements that some work consists of; what it changes is undone."""
    plans, fetch, execute = Plans(), jobs.engine.fetch, jobs.engine.execute

    async def explain(sql: str, *args: Any) -> None:
        if not sql.startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")) or "pg_advisory" in sql:
            return
        if jobs.is_postgres:
            [(found,)] = await fetch(f"EXPLAIN (FORMAT JSON) {sql}", *args)
            [top] = json.loads(found) if isinstance(found, str) else found
            plans.add_postgres(top["Plan"], sql)
        else:
            for row in await fetch(f"EXPLAIN QUERY PLAN {sql}", *args):
                plans.add_sqlite(row[-1], sql)

    async def explained_fetch(sql: str, *args: Any) -> Any:
        await explain(sql, *args)
        return await fetch(sql, *args)

    async def explained_execute(sql: str, *args: Any) -> None:
        await explain(sql, *args)
        await execute(sql, *args)

    with patch.context() as patched, suppress(Undone):
        async with jobs.transaction():
            patched.setattr(jobs.engine, "fetch", explained_fetch)
            patched.setattr(jobs.engine, "execute", explained_execute)
            await work()
            raise Undone
    return plans


async def take(jobs: JobDatabase, *, risky_losses: int | None = None) -> None:
    found = await jobs.claim("default", ["work"], 10, worker_id=new_id(), lease_seconds=60.0, risky_losses=risky_losses)
    assert len(found) == 10


async def dead(jobs: JobDatabase) -> None:
    found = await jobs.dead(None, 100)
    assert (len(found.jobs), len(found.passed_over)) == (100, 100)


async def forget(jobs: JobDatabase, **kept: float | None) -> None:
    nothing: dict[str, Any] = {"completed_days": None, "canceled_days": None, "failed_days": None, "most_jobs": None}
    found = await jobs.outdated(Retention(**{**nothing, **kept}))
    assert len(found) == 1_000
    assert await jobs.delete(found[:10], is_over=True) == 10


async def end(jobs: JobDatabase) -> None:
    """End a node that another one waits for, and see what that one waited for."""
    last = await add_chain(jobs)
    [(middle, _)] = await jobs.parents_of(last)
    [(first, _)] = await jobs.parents_of(middle.id)
    await jobs.engine.execute(
        f"UPDATE millrace_jobs SET state = 'running', status = 'running', lease_token = id WHERE id = '{first.id}'"
    )
    [begun] = await jobs.find_many([first.id])
    ended = await jobs.finish([ending(begun)])
    assert [job.id for job in ended.jobs] == [first.id]
    assert [job.state for job in await jobs.find_many([middle.id])] == [JobState.SCHEDULED]


async def run_again(jobs: JobDatabase) -> None:
    last = await add_chain(jobs)
    [job] = await jobs.find_many([last])
    await jobs.cancel([last])
    assert len(await jobs.of_graph(job.graph_id or "", lock=True)) == 3
    assert len(await jobs.edges_of(job.graph_id or "")) == 2
    assert len(await jobs.requeue({last: 1})) == 1


async def look(jobs: JobDatabase) -> None:
    [job] = await jobs.insert([NewJob(kind="work", concurrency_key="lane 1")])
    assert await jobs.ahead_of(job) > KEYED / 2
    await jobs.holders("lane 1")
    assert len(await jobs.risks(0, within_seconds=3600.0)) > 10
    assert len(await jobs.find_unique(["key 0", "key 1"])) == 1


Work = Callable[[JobDatabase], Awaitable[Any]]
CASES: dict[str, tuple[Work, set[str]]] = {
    "claim": (take, {"claim", "keyed", "slots"}),
    "careful claim": (lambda jobs: take(jobs, risky_losses=1), {"claim", "keyed", "slots", "risky"}),
    "what is due": (JobDatabase.promote, {"later"}),
    "lost workers": (lambda jobs: jobs.reap(3), {"leases"}),
    "dead letters": (dead, {"state", "unique"}),
    "kept for days": (lambda jobs: forget(jobs, completed_days=0.0), {"finished"}),
    "kept by number": (lambda jobs: forget(jobs, most_jobs=ENDED // 2), {"finished"}),
    "end of a node": (end, set()),
    "graph again": (run_again, set()),
    "why": (look, {"keyed", "slots", "unique"}),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_done_to_jobs_is_done_by_their_indexes(
    jobs: JobDatabase, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work, wanted = CASES[name]
    plans = await planned(jobs, monkeypatch, lambda: work(jobs))
    assert plans.whole == []
    assert {f"millrace_jobs_{index}" for index in wanted} <= plans.indexes


async def test_a_statement_that_reads_a_whole_table_is_seen(jobs: JobDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for condition in ("error = 'x'", "status <> 'completed'"):
        sql = f"SELECT id FROM millrace_jobs j WHERE {condition}"
        plans = await planned(jobs, monkeypatch, lambda sql=sql: jobs.engine.fetch(sql))  # type: ignore[misc]
        assert len(plans.whole) == 1
