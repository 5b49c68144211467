"""Who is asking, in which request: the one mechanism by which every manager call knows its surroundings."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

ANONYMOUS = "anonymous"
DEFAULT_TENANT = "default"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings of one unit of work: a request, a job, a command.

    `request_id` finds the log lines, `principal` is who acts, `tenant` whose data is touched.
    `traceparent` is the span that this is part of, when traces are on.
    """

    request_id: str = ""
    principal: str = ANONYMOUS
    tenant: str = DEFAULT_TENANT
    traceparent: str = ""


_BACKGROUND = Context()
_current: ContextVar[Context] = ContextVar("millrace_context", default=_BACKGROUND)


def current_context() -> Context:
    """The context of the running task; outside of any request an anonymous one without request id."""
    return _current.get()


def enter(context: Context) -> None:
    """Make `context` the current one for the rest of this task (a request task ends with its request)."""
    _current.set(context)


@contextmanager
def acting_as(context: Context) -> Iterator[Context]:
    """Run a block under `context` and restore the previous one."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
