"""Which database a URL means."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from domain.errors import Misconfigured

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_SQLITE = {"sqlite", "sqlite+aiosqlite"}
_POSTGRES = {"postgresql", "postgres", "postgresql+asyncpg"}
_EXAMPLES = '"sqlite:///var/app.db", "sqlite:///:memory:" or "postgresql://user:password@host:5432/name"'


class SqliteUrl(msgspec.Struct, frozen=True):
    """A file, or None for a database in memory."""

    path: Path | None

    @property
    def safe(self) -> str:
        """The URL for people; it holds no secret."""
        return f"sqlite:///{self.path or ':memory:'}"


class PostgresUrl(msgspec.Struct, frozen=True):
    """What asyncpg connects to."""

    dsn: str

    @property
    def safe(self) -> str:
        """The URL without its password and parameters."""
        parts = urlsplit(self.dsn)
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{user}{parts.hostname or 'localhost'}{port}{parts.path}"


DatabaseUrl = SqliteUrl | PostgresUrl


def parse_url(url: str) -> DatabaseUrl:
    """The database `url` names. Raises `Misconfigured` for every other spelling, never guessing a file name."""
    match = _SCHEME.match(url)
    scheme = match.group(1).lower() if match else ""
    if scheme in _SQLITE:
        return _sqlite(url)
    if scheme in _POSTGRES:
        return _postgres(url)
    shown = f"scheme {scheme!r}" if scheme else "no scheme"
    raise Misconfigured(f"database URL has {shown}: use {_EXAMPLES}")


def _sqlite(url: str) -> SqliteUrl:
    rest = url.split(":", 1)[1]
    if not rest.startswith("///"):
        if rest in {"//", ""}:
            return SqliteUrl(None)
        raise Misconfigured(f"database URL {url!r}: a SQLite URL has three slashes before the path, as in {_EXAMPLES}")
    path, _, parameters = rest[3:].partition("?")
    for name, _value in parse_qsl(parameters, keep_blank_values=True):
        raise Misconfigured(f"database URL parameter {name!r}: a SQLite URL takes none; use with_database(…) arguments")
    path = unquote(path)
    return SqliteUrl(None if path in {"", ":memory:"} else Path(path))


def _postgres(url: str) -> PostgresUrl:
    dsn = "postgresql:" + url.split(":", 1)[1]
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError as error:
        raise Misconfigured(f"database URL is malformed ({error}): use {_EXAMPLES}") from error
    if not dsn.startswith("postgresql://"):
        raise Misconfigured(f"database URL has no '//' after its scheme: use {_EXAMPLES}")
    return PostgresUrl(dsn)
