"""How workers get jobs: by a lease that the database grants, and that runs out by the database's clock."""

from collections.abc import Sequence

import msgspec

from domain.entity import new_id
from domain.jobs import Job, JobState, Progress
from domain.workers import WorkerInfo
from infra.database.jobs.endings import Endings
from infra.database.jobs.slots import ORDER, Slots
from infra.database.jobs.statements import in_order, stored_result
from infra.database.query import Arguments

_MOST_PROMOTED = 1_000
_SOON_SECONDS = 0.01
_encode = msgspec.json.Encoder().encode


class Claims(Endings, Slots):
    """What a worker asks of the database."""

    async def promote(self) -> float | None:
        """Queue the jobs whose time has come; returns in how many seconds the next one's will, None without any."""
        arguments = self.arguments()
        waiting = f"state IN ('{JobState.SCHEDULED}', '{JobState.RETRYING}')"
        later = f"{self.table}{self.dialect.by_index('millrace_jobs_later')}"
        first = "min(run_at)"
        [(is_due, seconds)] = await self.engine.fetch(
            f"SELECT {first} <= {self.now}, {self.dialect.seconds_from_now(first)} FROM {later} WHERE {waiting}"
        )
        if not is_due:
            return None if seconds is None else max(float(seconds), 0.0)
        update = (
            f"UPDATE {self.table} SET state = '{JobState.QUEUED}', updated_at = {self.now}, revision = revision + 1 "
            f"WHERE id IN (SELECT id FROM {later} WHERE {waiting} AND run_at <= {self.dialect.began} "
            f"ORDER BY run_at LIMIT {_MOST_PROMOTED}{self.dialect.free_row_lock})"
        )
        await self.changed(update, arguments, event="'due'", is_needed=False)
        # There may be more; but not at once, for they may be in the hands of somebody who takes his time.
        return _SOON_SECONDS

    async def claim(
        self,
        queue: str,
        kinds: Sequence[str],
        limit: int,
        *,
        worker_id: str,
        lease_seconds: float,
        risky_losses: int | None = None,
        is_risk_taken: bool = True,
    ) -> list[Job]:
        """Lease up to `limit` jobs of the queue, the first in order; each worker gets others.

        Of jobs with a concurrency key no more than its limit run at a time. Of those that have lost `risky_losses`
        workers one is leased, or none unless `is_risk_taken`.
        """
        arguments = self.arguments()
        queued, keyed = (f"{self.table}{self.dialect.by_index(f'millrace_jobs_{name}')}" for name in ("claim", "keyed"))
        known = self._known(arguments, queue, kinds)
        [(is_unkeyed, is_keyed, is_risky)] = await self.engine.fetch(
            # For an EXISTS PostgreSQL would look through the table, and begin with all that has ended.
            f"SELECT (SELECT 1 FROM {queued} WHERE {known} AND concurrency_key IS NULL {ORDER} LIMIT 1) IS NOT NULL, "
            f"(SELECT 1 FROM {keyed} WHERE {known} AND concurrency_key IS NOT NULL {ORDER} LIMIT 1) IS NOT NULL, "
            f"{self._is_any_risky(risky_losses)}",
            *arguments.values,
        )
        # Looked up without a lock first: while all slots are taken, nobody waits for those who find that out.
        is_keyed = is_keyed and bool(await self.with_slot(queue, kinds, 1))
        if not is_unkeyed and not is_keyed:
            return []
        lease = (worker_id, lease_seconds)
        if not is_risky:
            return await self._claim(queue, kinds, limit, is_keyed, lease)
        risky = f" AND losses >= {risky_losses}"
        found = await self._claim(queue, kinds, 1, is_keyed, lease, risky) if is_risk_taken else []
        if len(found) < limit:
            safe = f" AND losses < {risky_losses}"
            found += await self._claim(queue, kinds, limit - len(found), is_keyed, lease, safe)
        return found

    def _is_any_risky(self, losses: int | None) -> str:
        if losses is None:
            return "1 = 0"
        table = f"{self.table}{self.dialect.by_index('millrace_jobs_risky')}"
        waiting = f"state = '{JobState.QUEUED}' AND losses > 0 AND losses >= {losses}"
        return f"(SELECT 1 FROM {table} WHERE {waiting} ORDER BY losses DESC LIMIT 1) IS NOT NULL"

    async def _claim(
        self,
        queue: str,
        kinds: Sequence[str],
        limit: int,
        is_keyed: bool,
        lease: tuple[str, float],
        which: str = "",
    ) -> list[Job]:
        if not is_keyed:
            return await self._lease(queue, kinds, [], limit, *lease, which)
        async with self.transaction():
            await self.lock_slots()
            chosen = await self.with_slot(queue, kinds, limit, which)
            return await self._lease(queue, kinds, chosen, limit, *lease, which)

    def _known(self, arguments: Arguments, queue: str, kinds: Sequence[str]) -> str:
        """Whether a job waits in this queue for somebody who knows these kinds."""
        is_known = self.ids(arguments, kinds, "kind")
        return f"state = '{JobState.QUEUED}' AND queue = {arguments.bind(queue)} AND {is_known}"

    async def _lease(
        self,
        queue: str,
        kinds: Sequence[str],
        chosen: Sequence[str],
        limit: int,
        worker_id: str,
        lease_seconds: float,
        which: str = "",
    ) -> list[Job]:
        """Lease the first of the jobs without key and the `chosen` ones, except for those that others lock now."""
        # Whoever has ids or tokens (a job has one exactly while it runs) asks for nothing more: one word about the
        # state, and PostgreSQL walks through an index of states, be it of a whole backlog, or of all that has ended
        # since the last vacuum.
        arguments = self.arguments()
        known, count = self._known(arguments, queue, kinds), arguments.bind(limit)
        columns, lock = "SELECT id, priority, run_at FROM", self.dialect.free_row_lock
        head = (
            f"due AS MATERIALIZED ({columns} {self.table}{self.dialect.by_index('millrace_jobs_claim')} "
            f"WHERE {known} AND concurrency_key IS NULL{which} {ORDER} LIMIT {count}{lock})"
        )
        source = "due"
        if chosen:
            head += (
                f", keyed AS MATERIALIZED (SELECT id, priority, run_at, state FROM {self.table} "
                f"WHERE {self.ids(arguments, chosen)}{lock}), chosen AS MATERIALIZED ({columns} due "
                f"UNION ALL {columns} keyed WHERE state = '{JobState.QUEUED}' {ORDER} LIMIT {count})"
            )
            source = "chosen"
        token, worker = arguments.bind(new_id()), arguments.bind(worker_id)
        until = self.dialect.later(arguments.bind(float(lease_seconds)))
        update = (
            f"UPDATE {self.table} SET state = '{JobState.RUNNING}', status = 'running', attempt = attempt + 1, "
            f"lease_token = {token}, lease_until = {until}, worker_id = {worker}, started_at = {self.now}, "
            f"error = NULL, error_traceback = NULL, progress = NULL, updated_at = {self.now}, revision = revision + 1 "
            f"WHERE id IN (SELECT id FROM {source})"
        )
        return in_order(await self.changed(update, arguments, event="state", head=head))

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> dict[str, JobState]:
        """Lengthen leases, given as (job, token); returns the states of the jobs that are still held."""
        if not leases:
            return {}
        arguments = self.arguments()
        rows = [{"r_id": id, "r_token": token} for id, token in leases]
        source = self.rows(arguments, {"r_id": "varchar", "r_token": "varchar"}, rows)
        lock, is_locked = self.locked(arguments, [id for id, _ in leases])
        until = self.dialect.later(arguments.bind(float(lease_seconds)))
        found = await self.engine.fetch(
            f"{_with(lock)}UPDATE {self.table} SET lease_until = {until} FROM {source} "
            f"WHERE id = r_id AND lease_token = r_token{is_locked} RETURNING id, state",
            *arguments.values,
        )
        return {id: JobState(state) for id, state in found}

    async def held(self, leases: Sequence[tuple[str, str]]) -> dict[str, JobState]:
        """The states of those of these leases, given as (job, token), that still hold."""
        arguments = self.arguments()
        condition = self.ids(arguments, [id for id, _ in leases])
        found = await self.engine.fetch(
            f"SELECT id, lease_token, state FROM {self.table} WHERE {condition}",
            *arguments.values,
        )
        tokens = dict(leases)
        return {id: JobState(state) for id, token, state in found if tokens.get(id) == token}

    async def report(self, reports: Sequence[tuple[str, str, Progress]]) -> None:
        """Store the progress of runs, given as (job, token, progress)."""
        arguments = self.arguments()
        rows = [{"r_id": id, "r_token": token, "r_progress": _encode(told).decode()} for id, token, told in reports]
        source = self.rows(arguments, {"r_id": "varchar", "r_token": "varchar", "r_progress": "text"}, rows)
        lock, is_locked = self.locked(arguments, [id for id, _, _ in reports])
        json = "::jsonb" if self.is_postgres else ""
        await self.engine.execute(
            f"{_with(lock)}UPDATE {self.table} SET progress = r_progress{json}, updated_at = {self.now}, "
            f"revision = revision + 1 FROM {source} "
            f"WHERE id = r_id AND lease_token = r_token{is_locked}",
            *arguments.values,
        )

    async def write_logs(self, lines: Sequence[tuple[str, str, str, str]]) -> None:
        """Store what runs wrote, given as (job, token, stream, text)."""
        arguments = self.arguments()
        rows = [
            {"r_number": number, "r_id": id, "r_token": token, "r_stream": stream, "r_text": text}
            for number, (id, token, stream, text) in enumerate(lines)
        ]
        kinds = {"r_number": "int", "r_id": "varchar", "r_token": "varchar", "r_stream": "varchar", "r_text": "text"}
        source = self.rows(arguments, kinds, rows)
        ids = self.ids(arguments, sorted({id for id, _, _, _ in lines}))
        # Locked, for the lines of a job that is being removed would stay behind.
        await self.engine.execute(
            f"WITH held AS MATERIALIZED (SELECT id, lease_token, attempt FROM {self.table} "
            f"WHERE {ids} ORDER BY id{self.change_lock}) "
            "INSERT INTO millrace_job_logs (job_id, at, attempt, stream, text) "
            f"SELECT id, {self.now}, attempt, r_stream, r_text FROM {source} JOIN held ON id = r_id "
            "AND lease_token = r_token ORDER BY r_number",
            *arguments.values,
        )

    async def results(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """The results of completed jobs as JSON, by id; a result that is an artifact comes as its id."""
        arguments = self.arguments()
        as_text = "result::text" if self.is_postgres else "result"
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
        names = ("id", "host", "pid", "concurrency", "running", "is_draining", "processes", "busy_processes")
        values = {name: getattr(worker, name) for name in names} | {"host": worker.host[:255]}
        bound = ", ".join(bind(value) for value in values.values())
        lists = ", ".join(bind(_encode(listed).decode()) for listed in (worker.queues, worker.kinds))
        await self.engine.execute(
            f"INSERT INTO millrace_workers ({', '.join(names)}, queues, kinds, "
            f"started_at, seen_at) VALUES ({bound}, {lists}, {self.now}, {self.now}) ON CONFLICT (id) DO UPDATE SET "
            "running = excluded.running, is_draining = excluded.is_draining, "
            "busy_processes = excluded.busy_processes, seen_at = excluded.seen_at",
            *arguments.values,
        )

    async def leave(self, worker_id: str) -> None:
        """Say that a worker has ended in order."""
        arguments = self.arguments()
        await self.engine.execute(
            f"DELETE FROM millrace_workers WHERE id = {arguments.bind(worker_id)}", *arguments.values
        )


def _with(head: str) -> str:
    return f"WITH {head} " if head else ""
