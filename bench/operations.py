"""The requests that are measured, as the bytes that go over the wire, and the rows they find."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from bench.accounts import Role, User
from bench.budgets import ROWS

USERS = "/api/v1/users"
PAGE = f"{USERS}?page=3&size=50"
CPU = "/cpu"
"""Answers how many seconds of processor time the server has used."""

Requests = Iterator[bytes]


def users() -> list[User]:
    """The rows that both sides have."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(minutes=number, microseconds=number + 1) for number in range(ROWS)]
    return [
        User(
            created_at=moment,
            updated_at=moment,
            tags=["early", f"group-{number % 7}"],
            name=f"User number {number:04}",
            email=f"user{number:04}@example.com",
            role=tuple(Role)[number % 3],
            is_active=number % 4 != 0,
            age=18 + number % 60,
            last_login_at=moment if number % 5 else None,
        )
        for number, moment in enumerate(moments)
    ]


def get(target: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A request without a body."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"GET {target} HTTP/1.1\r\nhost: bench.test\r\naccept: application/json\r\n{more}\r\n".encode()


def post(target: str, body: bytes, key: str | None = None) -> bytes:
    """A request with a JSON body, and perhaps an `Idempotency-Key`."""
    head = f"POST {target} HTTP/1.1\r\nhost: bench.test\r\ncontent-type: application/json\r\n"
    if key is not None:
        head += f"idempotency-key: {key}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


_FILTER = quote(json.dumps({"is_active": True, "age": {"gte": 30}}, separators=(",", ":")))
_created = itertools.count(1)


def _by_id(ids: Sequence[str]) -> Requests:
    return itertools.cycle([get(f"{USERS}/{id}") for id in ids])


def _page(ids: Sequence[str]) -> Requests:
    return itertools.repeat(get(PAGE))


def _list(ids: Sequence[str]) -> Requests:
    return itertools.repeat(get(USERS))


def _query(ids: Sequence[str]) -> Requests:
    return itertools.repeat(get(f"{USERS}?filter={_FILTER}&sort=-age&fields=id,name,age"))


def _post(ids: Sequence[str]) -> Requests:
    for number in _created:
        yield post(USERS, _new(number))


def _new(number: int) -> bytes:
    body = {"name": f"New {number}", "email": f"new{number}@example.com", "role": "editor", "tags": ["new"]}
    return json.dumps(body).encode()


def keyed() -> Requests:
    """New users, each with a key of its own."""
    for number in _created:
        yield post(USERS, _new(number), f"key-{number}")


def repeated() -> Requests:
    """One user, again and again with the same key."""
    number = next(_created)
    return itertools.repeat(post(USERS, _new(number), f"key-{number}"))


OPERATIONS: dict[str, Callable[[Sequence[str]], Requests]] = {
    "get": _by_id,
    "page": _page,
    "list": _list,
    "query": _query,
    "post": _post,
}
"""By name, what makes the requests; it is given the ids of the rows."""
