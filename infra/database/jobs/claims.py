"""How workers get jobs: by a lease that the database grants, and that runs out by the database's clock."""

from collections.abc import Sequence

import msgspec

from domain.entity import new_id
from domain.jobs import Job, JobState, Progress, WorkerInfo
from infra.database.jobs.endings import Endings
from infra.database.jobs.statements import in_order, stored_result
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments

# Any number does, as long as nobody else in the database takes it for something else.
_KEYED_LOCK = 0x6D696C6C6B657973
_ORDER = "ORDER BY priority DESC, run_at, id"
_encode = msgspec.json.Encoder().encode


class Claims(Endings):
    """What a worker asks of the database."""

    async def promote(self) -> float | None:
        """Queue the jobs whose time has come; returns in how many seconds the next one's will, None without any."""
        arguments = self.arguments()
        waiting = f"state IN ('{JobState.SCHEDULED}', '{JobState.RETRYING}')"
        first = "min(run_at)"
        [(is_due, seconds)] = await self.engine.fetch(
            f"SELECT {first} <= {self.now}, {self.dialect.seconds_from_now(first)} FROM {self.table} WHERE {waiting}"
        )
        if not is_due:
            return None if seconds is None else max(float(seconds), 0.0)
        update = (
            f"UPDATE {self.table} SET state = '{JobState.QUEUED}', updated_at = {self.now}, revision = revision + 1 "
            f"WHERE id IN (SELECT id FROM {self.table} WHERE {waiting} AND run_at <= {self.now} "
            f"ORDER BY run_at LIMIT 1000{self.dialect.free_row_lock}) AND {waiting}"
        )
        await self.changed(update, arguments, event="'due'", is_needed=False)
        return 0.0

    async def claim(
        self, queue: str, kinds: Sequence[str], limit: int, *, worker_id: str, lease_seconds: float
    ) -> list[Job]:
        """Lease up to `limit` jobs of the queue, the first in order; each worker gets others.

        Of jobs with a concurrency key no more than its limit run at a time.
        """
        arguments = self.arguments()
        known = (
            f"state = '{JobState.QUEUED}' AND queue = {arguments.bind(queue)} AND {self.ids(arguments, kinds, 'kind')}"
        )
        keyed = f"SELECT EXISTS (SELECT 1 FROM {self.table} WHERE {known} AND concurrency_key IS NOT NULL)"
        [(is_keyed,)] = await self.engine.fetch(keyed, *arguments.values)
        if not is_keyed:
            return await self._lease(
                f"{known} AND concurrency_key IS NULL", None, arguments, limit, worker_id, lease_seconds
            )
        async with self.transaction():
            if isinstance(self.engine, PostgresEngine):
                # Who counts the slots of a key must see what the one before has taken.
                await self.engine.execute("SELECT pg_advisory_xact_lock($1)", _KEYED_LOCK)
            free = (
                f"SELECT j.id, j.priority, j.run_at, j.concurrency_limit - coalesce(b.taken, 0) AS free, row_number() "
                f"OVER (PARTITION BY j.concurrency_key {_ORDER}) AS place FROM {self.table} j LEFT JOIN "
                f"(SELECT concurrency_key, count(*) AS taken FROM {self.table} WHERE status = 'running' "
                f"AND concurrency_key IS NOT NULL GROUP BY concurrency_key) b ON b.concurrency_key = j.concurrency_key "
                f"WHERE {known} AND j.concurrency_key IS NOT NULL"
            )
            return await self._lease(
                f"{known} AND concurrency_key IS NULL", free, arguments, limit, worker_id, lease_seconds
            )

    async def _lease(
        self, unkeyed: str, keyed: str | None, arguments: Arguments, limit: int, worker_id: str, lease_seconds: float
    ) -> list[Job]:
        count = arguments.bind(limit)
        due = (
            f"due AS MATERIALIZED (SELECT id, priority, run_at FROM {self.table} WHERE {unkeyed} "
            f"{_ORDER} LIMIT {count}{self.dialect.free_row_lock})"
        )
        source = "due"
        if keyed is not None:
            due += (
                f", ranked AS MATERIALIZED ({keyed}), chosen AS MATERIALIZED (SELECT id, priority, run_at FROM due "
                f"UNION ALL SELECT id, priority, run_at FROM ranked WHERE place <= free {_ORDER} LIMIT {count})"
            )
            source = "chosen"
        token, worker = arguments.bind(new_id()), arguments.bind(worker_id)
        until = self.dialect.later(arguments.bind(float(lease_seconds)))
        update = (
            f"UPDATE {self.table} SET state = '{JobState.RUNNING}', status = 'running', attempt = attempt + 1, "
            f"lease_token = {token}, lease_until = {until}, worker_id = {worker}, started_at = {self.now}, "
            f"error = NULL, error_traceback = NULL, progress = NULL, updated_at = {self.now}, revision = revision + 1 "
            f"WHERE id IN (SELECT id FROM {source}) AND state = '{JobState.QUEUED}'"
        )
        return in_order(await self.changed(update, arguments, event="state", head=due))

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> dict[str, JobState]:
        """Lengthen leases, given as (job, token); returns the states of the jobs that are still held."""
        if not leases:
            return {}
        arguments = self.arguments()
        rows = [{"r_id": id, "r_token": token} for id, token in sorted(leases)]
        source = self.rows(arguments, {"r_id": "varchar", "r_token": "varchar"}, rows)
        until = self.dialect.later(arguments.bind(float(lease_seconds)))
        found = await self.engine.fetch(
            f"UPDATE {self.table} SET lease_until = {until} FROM {source} "
            "WHERE id = r_id AND lease_token = r_token AND status = 'running' RETURNING id, state",
            *arguments.values,
        )
        return {id: JobState(state) for id, state in found}

    async def held(self, leases: Sequence[tuple[str, str]]) -> dict[str, JobState]:
        """The states of those of these leases, given as (job, token), that still hold."""
        arguments = self.arguments()
        condition = self.ids(arguments, [id for id, _ in leases])
        found = await self.engine.fetch(
            f"SELECT id, lease_token, state FROM {self.table} WHERE {condition} AND status = 'running'",
            *arguments.values,
        )
        tokens = dict(leases)
        return {id: JobState(state) for id, token, state in found if tokens.get(id) == token}

    async def report(self, reports: Sequence[tuple[str, str, Progress]]) -> None:
        """Store the progress of runs, given as (job, token, progress)."""
        arguments = self.arguments()
        rows = [{"r_id": id, "r_token": token, "r_progress": _encode(told).decode()} for id, token, told in reports]
        source = self.rows(arguments, {"r_id": "varchar", "r_token": "varchar", "r_progress": "text"}, rows)
        json = "::jsonb" if self.dialect.name == "postgres" else ""
        await self.engine.execute(
            f"UPDATE {self.table} SET progress = r_progress{json}, updated_at = {self.now}, revision = revision + 1 "
            f"FROM {source} WHERE id = r_id AND lease_token = r_token AND status = 'running'",
            *arguments.values,
        )

    async def write_logs(self, lines: Sequence[tuple[str, int, str, str]]) -> None:
        """Store what runs wrote, given as (job, attempt, stream, text), for the jobs that still exist."""
        arguments = self.arguments()
        rows = [
            {"r_number": number, "r_id": id, "r_attempt": attempt, "r_stream": stream, "r_text": text}
            for number, (id, attempt, stream, text) in enumerate(lines)
        ]
        kinds = {"r_number": "int", "r_id": "varchar", "r_attempt": "int", "r_stream": "varchar", "r_text": "text"}
        source = self.rows(arguments, kinds, rows)
        await self.engine.execute(
            "INSERT INTO millrace_job_logs (job_id, at, attempt, stream, text) "
            f"SELECT r_id, {self.now}, r_attempt, r_stream, r_text FROM {source} "
            f"WHERE EXISTS (SELECT 1 FROM {self.table} j WHERE j.id = r_id) ORDER BY r_number",
            *arguments.values,
        )

    async def results(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """The results of completed jobs as JSON, by id; a result that is an artifact comes as its id."""
        arguments = self.arguments()
        as_text = "result::text" if self.dialect.name == "postgres" else "result"
        rows = await self.engine.fetch(
            f"SELECT id, {as_text}, artifact_id FROM {self.table} "
            f"WHERE {self.ids(arguments, ids)} AND state = '{JobState.COMPLETED}'",
            *arguments.values,
        )
        return {
            id: _encode({"artifact_id": artifact}) if artifact is not None else stored_result(text)
            for id, text, artifact in rows
        }

    async def beat(self, worker: WorkerInfo) -> None:
        """Say that a worker is alive."""
        arguments = self.arguments()
        bind = arguments.bind
        values = (worker.id, worker.host[:255], worker.pid, worker.concurrency, worker.running, worker.is_draining)
        bound = ", ".join(bind(value) for value in values)
        lists = ", ".join(bind(_encode(names).decode()) for names in (worker.queues, worker.kinds))
        await self.engine.execute(
            "INSERT INTO millrace_workers (id, host, pid, concurrency, running, is_draining, queues, kinds, "
            f"started_at, seen_at) VALUES ({bound}, {lists}, {self.now}, {self.now}) ON CONFLICT (id) DO UPDATE SET "
            "running = excluded.running, is_draining = excluded.is_draining, seen_at = excluded.seen_at",
            *arguments.values,
        )

    async def leave(self, worker_id: str) -> None:
        """Say that a worker has ended in order."""
        arguments = self.arguments()
        await self.engine.execute(
            f"DELETE FROM millrace_workers WHERE id = {arguments.bind(worker_id)}", *arguments.values
        )
