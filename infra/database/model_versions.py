"""Where models, their versions and the history of their aliases are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from piccolo.columns import JSONB, BigSerial, Integer, Text, Timestamptz, Varchar
from piccolo.table import Table

from domain.model_versions import AliasMove, MoveKind
from domain.wire import timestamp_text
from infra.database.current import CURRENT_ENGINE
from infra.database.engine import DatabaseEngine
from infra.database.postgres import PostgresEngine
from infra.database.query import Arguments
from infra.database.table import EntityTable, Ulid

_MOVES = "millrace_alias_moves"
_COLUMNS = "model_id, alias, version, kind, at, gate, principal, trace_id"


class Models(EntityTable, tablename="millrace_models"):
    """One row per model; who changes its aliases or counts its versions locks it first."""

    name = Varchar(length=100, unique=True)
    description = Text()


class ModelVersions(EntityTable, tablename="millrace_model_versions"):
    """One row per version. A unique index keeps numbers apart."""

    model_id = Ulid()
    number = Integer()
    status = Varchar(length=20)
    artifact_id = Ulid(index=True)
    artifact_deleted_at = Timestamptz(null=True, default=None)
    config_id = Ulid(null=True)
    code_revision = Varchar(length=40, null=True, default=None)
    metrics = JSONB()
    signature = JSONB(null=True, default=None)
    description = Text()


class AliasMoves(Table, tablename=_MOVES, db=CURRENT_ENGINE):
    """Everything that aliases have ever pointed to. Rows are added, and never changed; the latest one counts."""

    id = BigSerial(primary_key=True)
    model_id = Ulid()
    alias = Varchar(length=100)
    version = Integer(null=True, default=None)
    kind = Varchar(length=20)
    at = Timestamptz()
    gate = Text(null=True, default=None)
    principal = Varchar(length=200)
    trace_id = Varchar(length=128, null=True, default=None)


class AliasHistory:
    """`domain.ports.AliasHistory`, by the database's clock."""

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect

    async def now(self) -> datetime:
        """The present moment."""
        [(moment,)] = await self._engine.fetch(f"SELECT {self._dialect.now}")
        return _moment(moment)

    async def last_number(self, model_id: str) -> int:
        """The number of the latest version of a model, 0 without any."""
        arguments = Arguments(self._dialect)
        [(number,)] = await self._engine.fetch(
            f"SELECT coalesce(max(number), 0) FROM millrace_model_versions WHERE model_id = {arguments.bind(model_id)}",
            *arguments.values,
        )
        return int(number)

    async def moves(self, model_id: str, alias: str) -> list[AliasMove]:
        """Everything an alias has pointed to, oldest first."""
        arguments = Arguments(self._dialect)
        rows = await self._engine.fetch(
            f"SELECT {_COLUMNS} FROM {_MOVES} WHERE model_id = {arguments.bind(model_id)} "
            f"AND alias = {arguments.bind(alias)} ORDER BY at",
            *arguments.values,
        )
        return [_move(row) for row in rows]

    async def latest(self, model_ids: Sequence[str], as_of: datetime | None = None) -> list[AliasMove]:
        """The latest move of each alias of these models, up to a moment; sorted by model and alias."""
        if not model_ids:
            return []
        arguments = Arguments(self._dialect)
        among = self._dialect.any_of("model_id", list(model_ids), arguments.bind)
        upto = "" if as_of is None else f" AND at <= {arguments.bind(self._stored(as_of))}"
        rows = await self._engine.fetch(
            f"SELECT {_COLUMNS} FROM (SELECT {_COLUMNS}, row_number() OVER (PARTITION BY model_id, alias "
            f"ORDER BY at DESC) AS place FROM {_MOVES} WHERE {among}{upto}) AS m WHERE place = 1",
            *arguments.values,
        )
        # Here and not there: databases sort text by rules of their own.
        return sorted((_move(row) for row in rows), key=lambda move: (move.model_id, move.alias))

    async def add(self, move: AliasMove) -> None:
        """Have an alias point to something from now on. Raises `Conflict` for a moment that is taken."""
        arguments = Arguments(self._dialect)
        given = [getattr(move, name) for name in _COLUMNS.split(", ")]
        given[3:5] = [move.kind.value, self._stored(move.at)]
        markers = ", ".join(arguments.bind(value) for value in given)
        await self._engine.execute(f"INSERT INTO {_MOVES} ({_COLUMNS}) VALUES ({markers})", *arguments.values)

    async def forget(self, model_ids: Sequence[str]) -> None:
        """Remove the versions and the aliases of models that are about to go."""
        for table in ("millrace_model_versions", _MOVES):
            arguments = Arguments(self._dialect)
            gone = self._dialect.any_of("model_id", list(model_ids), arguments.bind)
            await self._engine.execute(f"DELETE FROM {table} WHERE {gone}", *arguments.values)

    def _stored(self, moment: datetime) -> Any:
        return moment if isinstance(self._engine, PostgresEngine) else timestamp_text(moment)


def _moment(found: Any) -> datetime:
    return found if isinstance(found, datetime) else datetime.fromisoformat(found)


def _move(row: Sequence[Any]) -> AliasMove:
    model_id, alias, version, kind, at, gate, principal, trace_id = row
    return AliasMove(
        model_id=model_id,
        alias=alias,
        version=version,
        kind=MoveKind(kind),
        at=_moment(at),
        gate=gate,
        principal=principal,
        trace_id=trace_id,
    )
