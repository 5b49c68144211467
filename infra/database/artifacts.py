"""Where artifacts are kept; their content is not."""

from collections.abc import AsyncIterator, Sequence

from piccolo.columns import JSONB, BigInt, Integer, Varchar

from domain.fsck import Reference
from domain.model_jobs import WITH_REQUEST
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments
from infra.database.table import EntityTable, Ulid

_BATCH = 1_000
# Any number does, as long as nobody else in the database takes it for something else.
_LOCK = 0x6D696C6C74726565


class Artifacts(EntityTable, tablename="millrace_artifacts"):
    """One row per artifact."""

    data = JSONB()
    parent_id = Ulid(null=True, index=True)
    level = Integer()
    root_id = Ulid(null=True, index=True)
    content_kind = Varchar(length=10, default="none")
    content_sha256 = Varchar(length=64, null=True, default=None, index=True)
    content_bytes = BigInt(null=True, default=None)
    signature = Varchar(length=100, null=True, default=None)
    job_id = Ulid(null=True, index=True)
    config_id = Ulid(null=True)
    code_revision = Varchar(length=40, null=True, default=None)
    inputs = JSONB()
    parents = JSONB()


class ArtifactRows:
    """`domain.ports.ArtifactRows`: what only artifacts need of the database."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine

    async def parents(self, root_ids: Sequence[str]) -> dict[str, str | None]:
        """Everything in these trees by id, with the id of its parent."""
        arguments = Arguments(self._engine.dialect)
        among = self._engine.dialect.any_of("root_id", list(root_ids), arguments.bind) if root_ids else "1 = 0"
        sql = f"SELECT id, parent_id FROM millrace_artifacts WHERE {among} ORDER BY id"
        rows = await self._engine.fetch(sql, *arguments.values)
        return dict(map(tuple, rows))

    async def keep_shape(self) -> None:
        """Until the transaction ends nobody may `change_shape`; others may keep it, too."""
        await self._lock("pg_advisory_xact_lock_shared")

    async def change_shape(self) -> None:
        """Until the transaction ends nobody else may keep or change the shape of any tree."""
        await self._lock("pg_advisory_xact_lock")

    async def _lock(self, function: str) -> None:
        # SQLite has one writer at a time anyway.
        if isinstance(self._engine, PostgresEngine):
            await self._engine.execute(f"SELECT {function}($1)", _LOCK)

    async def references(self) -> AsyncIterator[Reference]:
        """Every row that relies on stored content."""
        last = ""
        while True:
            arguments = Arguments(self._engine.dialect)
            rows = await self._engine.fetch(
                f"SELECT id, content_sha256, content_bytes FROM millrace_artifacts WHERE id > {arguments.bind(last)} "
                f"AND content_sha256 IS NOT NULL ORDER BY id LIMIT {_BATCH}",
                *arguments.values,
            )
            for id, sha256, size in rows:
                yield Reference(id, sha256, size)
            if len(rows) < _BATCH:
                return
            last = rows[-1][0]


class RequestReferences:
    """The requests that jobs of models still need: those of all that are kept, for any of them may run again."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine

    async def references(self) -> AsyncIterator[Reference]:
        """Every job that relies on a stored request."""
        last = ""
        request = "args->>'request'"
        while True:
            arguments = Arguments(self._engine.dialect)
            rows = await self._engine.fetch(
                f"SELECT id, {request} FROM millrace_jobs WHERE id > {arguments.bind(last)} "
                f"AND kind IN ({', '.join(map(arguments.bind, WITH_REQUEST))}) ORDER BY id LIMIT {_BATCH}",
                *arguments.values,
            )
            for id, sha256 in rows:
                if sha256 is not None:
                    yield Reference(id, sha256)
            if len(rows) < _BATCH:
                return
            last = rows[-1][0]
