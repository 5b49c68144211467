"""What drivers raise becomes ours, or stays what it is when it is a fault of ours."""

import sqlite3
from typing import Any

import asyncpg
import pytest

from domain.errors import Conflict, Invalid, NotFound, ServiceError, Unavailable
from infra.database.failures import is_lost_connection, translated


def outcome(error: BaseException) -> BaseException:
    """What comes out of a block that raises `error`."""
    try:
        with translated():
            raise error
    except type(error) as same:
        return same
    except ServiceError as ours:
        return ours
    raise AssertionError("nothing was raised")


def violation(kind: type[Any], detail: str | None = None, column: str | None = None) -> Exception:
    error: Any = kind("broken")
    error.detail, error.column_name = detail, column
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "error, detail, extensions",
    [
        (
            violation(asyncpg.UniqueViolationError, "Key (a, b)=(1, (2)) already exists."),
            'The value of "a", "b" is already taken',
            {"constraint": "unique", "fields": ["a", "b"]},
        ),
        (violation(asyncpg.UniqueViolationError), "A unique value is already taken", {"constraint": "unique"}),
        (
            violation(asyncpg.UniqueViolationError, "Key (lower(name::text))=(a) already exists."),
            'The value of "lower(name::text)" is already taken',
            {"constraint": "unique", "fields": ["lower(name::text)"]},
        ),
        (
            violation(asyncpg.ForeignKeyViolationError, 'Key (owner)=(1) is not present in table "users".'),
            '"owner" refers to something that does not exist',
            {"constraint": "foreign_key", "fields": ["owner"]},
        ),
        (
            violation(asyncpg.ForeignKeyViolationError, 'Key (id)=(1) is still referenced from table "notes".'),
            "It refers to, or is referred to by, something else",
            {"constraint": "foreign_key"},
        ),
        (
            violation(asyncpg.NotNullViolationError, "Failing row contains (1).", "name"),
            '"name" must have a value',
            {"constraint": "not_null", "fields": ["name"]},
        ),
        (violation(asyncpg.CheckViolationError), "contradict a rule of the table", {"constraint": "check"}),
        (
            sqlite3.IntegrityError("UNIQUE constraint failed: t.a, t.b"),
            'The value of "a", "b" is already taken',
            {"constraint": "unique", "fields": ["a", "b"]},
        ),
        (
            sqlite3.IntegrityError("FOREIGN KEY constraint failed"),
            "It refers to, or is referred to by, something else",
            {"constraint": "foreign_key"},
        ),
        (
            sqlite3.IntegrityError("NOT NULL constraint failed: t.name"),
            '"name" must have a value',
            {"constraint": "not_null", "fields": ["name"]},
        ),
        (
            sqlite3.IntegrityError("CHECK constraint failed: positive"),
            "contradict a rule of the table",
            {"constraint": "check", "fields": ["positive"]},
        ),
        (sqlite3.IntegrityError("datatype mismatch"), "contradict a rule of the table", {"constraint": "check"}),
    ],
)
def test_a_broken_rule_is_a_conflict_that_names_the_fields(
    error: Exception, detail: str, extensions: dict[str, Any]
) -> None:
    ours = outcome(error)
    assert isinstance(ours, Conflict)
    assert detail in ours.detail
    assert ours.extensions == extensions


@pytest.mark.parametrize(
    "error, kind, detail",
    [
        (asyncpg.QueryCanceledError("x"), Unavailable, "statement timeout"),
        (sqlite3.OperationalError("interrupted"), Unavailable, "statement timeout"),
        (asyncpg.SerializationError("x"), Conflict, "Another change"),
        (asyncpg.DeadlockDetectedError("x"), Conflict, "Another change"),
        (asyncpg.NumericValueOutOfRangeError("x"), Invalid, "does not fit"),
        (asyncpg.DataError("x"), Invalid, "does not fit"),
        (OverflowError("x"), Invalid, "does not fit"),
        (asyncpg.ProgramLimitExceededError("index row size 4816 exceeds maximum"), Invalid, "too long for an index"),
        (asyncpg.StatementTooComplexError("x"), Invalid, "too many values"),
        (sqlite3.DataError("string or blob too big"), Invalid, "does not fit"),
        (asyncpg.ReadOnlySQLTransactionError("x"), Unavailable, "read-only"),
        (asyncpg.TooManyConnectionsError("x"), Unavailable, "does not answer"),
        (asyncpg.DiskFullError("x"), Unavailable, "does not answer"),
        (asyncpg.AdminShutdownError("x"), Unavailable, "does not answer"),
        (asyncpg.CannotConnectNowError("x"), Unavailable, "does not answer"),
        (asyncpg.ConnectionDoesNotExistError("x"), Unavailable, "does not answer"),
        (asyncpg.InterfaceError("connection is closed"), Unavailable, "does not answer"),
        (asyncpg.InternalClientError("cannot switch to state 15"), Unavailable, "does not answer"),
        (ConnectionRefusedError(), Unavailable, "does not answer"),
        (TimeoutError(), Unavailable, "does not answer"),
        (sqlite3.OperationalError("database is locked"), Unavailable, "database is locked"),
        (sqlite3.OperationalError("disk I/O error"), Unavailable, "disk I/O error"),
        (sqlite3.OperationalError("database or disk is full"), Unavailable, "full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), Unavailable, "readonly"),
        (sqlite3.DatabaseError("file is not a database"), Unavailable, "not a database"),
    ],
)
def test_what_a_driver_raises_on_purpose_is_an_error_of_ours(
    error: Exception, kind: type[ServiceError], detail: str
) -> None:
    ours = outcome(error)
    assert type(ours) is kind
    assert ours.__cause__ is error
    assert detail in ours.detail
    assert (ours.extensions == {"retry_after": 1}) == (kind is Unavailable)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("x"),
        asyncpg.PostgresSyntaxError("x"),
        asyncpg.UndefinedTableError("x"),
        sqlite3.OperationalError("no such table: x"),
        sqlite3.ProgrammingError("x"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_what_is_ours_already_or_a_fault_stays_what_it_is(error: BaseException) -> None:
    assert outcome(error) is error


@pytest.mark.parametrize(
    "error, is_lost",
    [
        (asyncpg.ConnectionDoesNotExistError("x"), True),
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InternalClientError("x"), True),
        (ConnectionResetError(), True),
        (asyncpg.InterfaceError("another operation is in progress"), False),
        (asyncpg.QueryCanceledError("x"), False),
        (TimeoutError(), False),
        (Unavailable("x"), False),
    ],
)
def test_only_a_connection_that_died_is_worth_another_try(error: Exception, is_lost: bool) -> None:
    assert is_lost_connection(error) == is_lost


def test_a_block_that_raises_nothing_is_left_alone() -> None:
    with translated():
        pass
