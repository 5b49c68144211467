"""Which database a URL means; a wrong one is refused and never taken for the name of a file."""

from pathlib import Path

import pytest

from domain.errors import Misconfigured
from infra.database.engine import DatabaseOptions, create_engine
from infra.database.postgres import PostgresEngine
from infra.database.sqlite import SqliteEngine
from infra.database.url import PostgresUrl, SqliteUrl, parse_url


@pytest.mark.parametrize(
    "url, path",
    [
        ("sqlite:///var/app.db", "var/app.db"),
        ("sqlite:////var/app.db", "/var/app.db"),
        ("sqlite+aiosqlite:///app.db", "app.db"),
        ("SQLite:///app.db", "app.db"),
        ("sqlite:///my%20app.db", "my app.db"),
        ("sqlite:///a%3Fb.db", "a?b.db"),
        ("sqlite:///:memory:", None),
        ("sqlite+aiosqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite:///", None),
        ("sqlite:", None),
    ],
)
def test_a_sqlite_url_means_a_file_or_memory(url: str, path: str | None) -> None:
    assert parse_url(url) == SqliteUrl(None if path is None else Path(path))


@pytest.mark.parametrize(
    "url, dsn, safe",
    [
        ("postgresql://db/app", "postgresql://db/app", "postgresql://db/app"),
        ("postgres://u:p@db:5433/app", "postgresql://u:p@db:5433/app", "postgresql://u@db:5433/app"),
        ("postgresql+asyncpg://u:p@db/app?ssl=true", "postgresql://u:p@db/app?ssl=true", "postgresql://u@db/app"),
        ("PostgreSQL://u@[::1]/app", "postgresql://u@[::1]/app", "postgresql://u@::1/app"),
        ("postgresql:///app?host=/run", "postgresql:///app?host=/run", "postgresql://localhost/app"),
    ],
)
def test_a_postgresql_url_goes_to_the_driver_and_is_shown_without_secrets(url: str, dsn: str, safe: str) -> None:
    parsed = parse_url(url)
    assert parsed == PostgresUrl(dsn)
    assert parsed.safe == safe


@pytest.mark.parametrize(
    "url, message",
    [
        ("mysql://db/app", "scheme 'mysql': use \"sqlite:///var/app.db\""),
        ("postgresql+psycopg://db/app", r"scheme 'postgresql\+psycopg'"),
        ("sqlite+pysqlite:///x", r"scheme 'sqlite\+pysqlite'"),
        ("file:app.db", "scheme 'file'"),
        ("", "no scheme"),
        ("app.db", "no scheme"),
        ("/var/app.db", "no scheme"),
        (":memory:", "no scheme"),
        ("//db/app", "no scheme"),
        (" postgresql://db/app", "no scheme"),
        ("postgresql:db/app", "no '//'"),
        ("postgresql:/db/app", "no '//'"),
        ("postgresql", "no scheme"),
        ("postgresql://db:port/app", "malformed"),
        ("postgresql://db:99999/app", "malformed"),
        ("postgresql://[::1/app", "malformed"),
        ("sqlite:app.db", "three slashes"),
        ("sqlite:/app.db", "three slashes"),
        ("sqlite://app.db", "three slashes"),
        ("sqlite:///app.db?mode=ro", "parameter 'mode'"),
        ("sqlite:///app.db?cache", "parameter 'cache'"),
    ],
)
def test_any_other_url_is_refused_with_examples(url: str, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        parse_url(url)


def test_a_secret_in_a_wrong_url_is_not_repeated() -> None:
    for url in ("mysql://u:secret@db/app", "postgresql://u:secret@db:port/app", "postgresql:u:secret@db"):
        with pytest.raises(Misconfigured) as caught:
            parse_url(url)
        assert "secret" not in str(caught.value)


def test_a_sqlite_url_is_shown_as_it_is() -> None:
    assert SqliteUrl(Path("/a/b.db")).safe == "sqlite:////a/b.db"
    assert SqliteUrl(None).safe == "sqlite:///:memory:"


def test_without_a_url_there_is_a_file_named_after_the_service(tmp_path: Path) -> None:
    engine = create_engine(DatabaseOptions(), home=tmp_path, name="accounts")
    assert isinstance(engine, SqliteEngine)
    assert engine.path == tmp_path / "accounts.db"


def test_the_options_reach_the_engine(tmp_path: Path) -> None:
    options = DatabaseOptions(
        url="postgresql://db/app",
        pool_size=3,
        max_overflow=0,
        acquire_timeout_seconds=1,
        connect_timeout_seconds=2,
        statement_timeout_seconds=3,
        idle_seconds=4,
    )
    engine = create_engine(options, home=tmp_path, name="accounts")
    assert isinstance(engine, PostgresEngine)
    assert (engine.pool_size, engine.max_overflow, engine.acquire_timeout_seconds) == (3, 0, 1)
    assert (engine.connect_timeout_seconds, engine.statement_timeout_seconds, engine.idle_seconds) == (2, 3, 4)
    assert engine.application_name == "millrace accounts"


@pytest.mark.parametrize(
    "name, value",
    [
        ("pool_size", 0),
        ("max_overflow", -1),
        ("acquire_timeout_seconds", -1),
        ("acquire_timeout_seconds", 0),
        ("connect_timeout_seconds", -0.1),
        ("statement_timeout_seconds", -1),
        ("idle_seconds", -1),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=rf"with_database\({name}={value}\)"):
        DatabaseOptions(**{name: value})  # type: ignore[arg-type]
