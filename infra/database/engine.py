"""The engine for a database URL."""

from pathlib import Path

import msgspec

from domain.errors import Misconfigured
from infra.database.postgres import PostgresEngine
from infra.database.sqlite import SqliteEngine
from infra.database.url import SqliteUrl, parse_url

DatabaseEngine = SqliteEngine | PostgresEngine


class DatabaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the database; the same words for both kinds, see docs/databases.md.

    `url` None means the embedded default: a SQLite file in the service's home. `pool_size` is the number of kept
    connections (SQLite: readers), `max_overflow` how many more PostgreSQL may open under load.
    """

    url: str | None = None
    pool_size: int = 5
    max_overflow: int = 10
    acquire_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 10.0
    statement_timeout_seconds: float = 30.0
    idle_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.pool_size < 1:
            raise Misconfigured(f"with_database(pool_size={self.pool_size}): at least 1 connection is needed")
        if self.max_overflow < 0:
            raise Misconfigured(f"with_database(max_overflow={self.max_overflow}): 0 or more")
        if self.acquire_timeout_seconds <= 0:
            raise Misconfigured(
                f"with_database(acquire_timeout_seconds={self.acquire_timeout_seconds}): more than 0 seconds"
            )
        for name in ("connect_timeout_seconds", "statement_timeout_seconds", "idle_seconds"):
            if getattr(self, name) < 0:
                raise Misconfigured(f"with_database({name}={getattr(self, name)}): 0 or more seconds")


def create_engine(options: DatabaseOptions, *, home: Path, name: str) -> DatabaseEngine:
    """The engine for `options.url`, not yet started. `home` and `name` make the file of the embedded default.

    Raises `Misconfigured` for a URL that is neither SQLite's nor PostgreSQL's.
    """
    url = SqliteUrl(home / f"{name}.db") if options.url is None else parse_url(options.url)
    if isinstance(url, SqliteUrl):
        return SqliteEngine(
            url.path,
            readers=options.pool_size,
            statement_timeout_seconds=options.statement_timeout_seconds,
        )
    return PostgresEngine(
        url,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        acquire_timeout_seconds=options.acquire_timeout_seconds,
        statement_timeout_seconds=options.statement_timeout_seconds,
        connect_timeout_seconds=options.connect_timeout_seconds,
        idle_seconds=options.idle_seconds,
        application_name=f"millrace {name}",
    )
