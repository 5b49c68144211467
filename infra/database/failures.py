"""Turns what the database drivers raise into this software's own errors."""

import re
import sqlite3
from contextlib import AbstractContextManager

import asyncpg

from domain.errors import Conflict, Invalid, ServiceError, Unavailable

_PG_KEY = re.compile(r"Key \((.+?)\)=")
_PG_CONSTRAINTS: dict[type[Exception], str] = {
    asyncpg.UniqueViolationError: "unique",
    asyncpg.ForeignKeyViolationError: "foreign_key",
    asyncpg.NotNullViolationError: "not_null",
    asyncpg.CheckViolationError: "check",
}
_SQLITE_CONSTRAINTS = {
    "UNIQUE": "unique",
    "PRIMARY": "unique",
    "FOREIGN": "foreign_key",
    "NOT": "not_null",
    "CHECK": "check",
}
_PG_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_SQLITE_UNREACHABLE = ("locked", "busy", "unable to open", "disk I/O", "full", "readonly", "not a database")

# The last but one is what a statement meets when the server ended the connection a moment before.
ASYNCPG_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
RETRY = {"retry_after": 1}
ABORTED = (
    "A statement of this transaction failed, so nothing of it was kept; put what may fail into a nested transaction"
)


class _Translated:
    """A class because every statement passes here, and a generator would take several times as long."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, ServiceError):
            return
        if isinstance(error, ASYNCPG_ERRORS):
            ours = from_postgres(error)
        elif isinstance(error, sqlite3.Error | OverflowError):
            ours = from_sqlite(error)
        else:
            return
        if ours is not error:
            raise ours from error


_TRANSLATED = _Translated()


def translated() -> AbstractContextManager[None]:
    """Run a block of driver calls; whatever they raise on purpose comes out as a `ServiceError`."""
    return _TRANSLATED


def from_postgres(error: Exception) -> Exception:
    """Our error for one of asyncpg, or the same error when it is a bug of ours."""
    for kind, constraint in _PG_CONSTRAINTS.items():
        if isinstance(error, kind):
            detail = getattr(error, "detail", None) or ""
            if constraint == "foreign_key" and "is still referenced" in detail:
                # It names the key that others refer to, and that one is all right.
                return _violation(constraint, [])
            match = _PG_KEY.match(detail)
            column = match.group(1) if match else getattr(error, "column_name", None)
            return _violation(constraint, column.split(", ") if column else [])
    if isinstance(error, asyncpg.QueryCanceledError):
        return Unavailable("The database took longer than the statement timeout allows; ask for less", extensions=RETRY)
    if isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError):
        return Conflict("Another change of the same data came first; try again")
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
        return Conflict(ABORTED)
    if isinstance(error, asyncpg.DataError):
        return Invalid("A value does not fit its column")
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        return Invalid("A value is too long for an index, or there are too many values at once")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return Unavailable("The database is read-only now; try again later", extensions=RETRY)
    if isinstance(error, _PG_UNREACHABLE):
        return Unavailable("The database does not answer; try again later", extensions=RETRY)
    return error


def from_sqlite(error: Exception) -> Exception:
    """Our error for one of sqlite3, or the same error when it is a bug of ours."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        constraint = _SQLITE_CONSTRAINTS.get(text.split(" ", 1)[0], "check")
        names = text.partition(": ")[2]
        return _violation(constraint, [name.rpartition(".")[2] for name in names.split(", ")] if names else [])
    if isinstance(error, OverflowError | sqlite3.DataError):
        return Invalid("A value does not fit its column")
    if isinstance(error, sqlite3.OperationalError) and text == "interrupted":
        return Unavailable("The database took longer than the statement timeout allows; ask for less", extensions=RETRY)
    if isinstance(error, sqlite3.DatabaseError) and any(word in text for word in _SQLITE_UNREACHABLE):
        return Unavailable(f"The database does not answer ({text}); try again later", extensions=RETRY)
    return error


def is_lost_connection(error: BaseException) -> bool:
    """Whether a PostgreSQL connection died under a statement, so that a read may be tried once more."""
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    return isinstance(
        error,
        asyncpg.PostgresConnectionError | asyncpg.AdminShutdownError | asyncpg.InternalClientError | ConnectionError,
    )


def _violation(constraint: str, fields: list[str]) -> Conflict:
    named = ", ".join(f'"{field}"' for field in fields)
    detail = {
        "unique": f"The value of {named} is already taken" if named else "A unique value is already taken",
        "foreign_key": f"{named} refers to something that does not exist"
        if named
        else "It refers to, or is referred to by, something else",
        "not_null": f"{named} must have a value" if named else "A value is missing",
    }.get(constraint, "The values contradict a rule of the table")
    return Conflict(detail, extensions={"constraint": constraint, **({"fields": fields} if fields else {})})
