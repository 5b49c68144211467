"""Tasks: functions that run as jobs, what they take, and how they are to be run."""

import hashlib
import inspect
import math
import re
import threading
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from domain.errors import Invalid, Misconfigured, NotFound, cut
from domain.jobs import DEFAULT_QUEUE, MOST_KEY_CHARACTERS, Key, Name, Priority, Progress, TimeoutSeconds, storable
from domain.query.resource import suggestion
from domain.retries import PERMANENT, RetryPolicy
from domain.validation import invalid_fields, problem, rejected

REFERENCE = "$ref"
"""The member that stands for the result of another job: `{"$ref": "name"}`."""
MOST_RESULT_BYTES = 1024 * 1024

_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Artifact(msgspec.Struct, frozen=True):
    """Returned by a task whose result is an artifact that it has stored."""

    artifact_id: str


class Canceled(Exception):
    """Raised by `RunningJob.check()` once the job has been told to stop."""


Send = Callable[[Mapping[str, Any]], None]


class RunningJob:
    """What a task knows of the run it is in, and says about it. The same in the worker's loop and in a process.

    `attempt` is counted from 1; `fire_at` is the tick of the schedule that the job is for, None without one. Nothing
    here waits: reports are passed on in the background.
    """

    def __init__(
        self,
        *,
        id: str,
        kind: str,
        attempt: int,
        max_attempts: int,
        send: Send,
        graph_id: str | None = None,
        trace_id: str | None = None,
        timeout_seconds: float | None = None,
        fire_at: datetime | None = None,
    ) -> None:
        self.id = id
        self.kind = kind
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.graph_id = graph_id
        self.trace_id = trace_id
        self.timeout_seconds = timeout_seconds
        self.fire_at = fire_at
        self._send = send
        self._canceled = threading.Event()

    def progress(self, percent: float | None = None, *, step: str | None = None, message: str | None = None) -> None:
        """Say how far the work has come; `percent` goes from 0 to 100. Only the latest report is kept."""
        told = Progress(
            percent=None if percent is None else _within_percent(float(percent)),
            step=None if step is None else storable(str(step), 200),
            message=None if message is None else storable(str(message), 1_000),
        )
        self._send({"progress": msgspec.to_builtins(told)})

    def log(self, text: str) -> None:
        """Write a line to the job's log."""
        self._send({"log": str(text)})

    @property
    def is_canceled(self) -> bool:
        """Whether the job has been told to stop. Who does not look is stopped by force a little later."""
        return self._canceled.is_set()

    def check(self) -> None:
        """Raise `Canceled` when the job has been told to stop: for the head of a loop."""
        if self.is_canceled:
            raise Canceled

    def cancel(self) -> None:
        """Tell the run to stop; called by whoever runs it."""
        self._canceled.set()


class Task(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A function that runs as a job; made by `@task`.

    `is_process` says that it runs in a process of its own. `concurrency_key` and `unique_key` may hold `{argument}`.
    `args` is the Struct of its arguments, None when it takes none; `takes_job` that it wants the `RunningJob`.
    """

    kind: str
    function: Callable[..., Any]
    args: type[msgspec.Struct] | None
    takes_job: bool
    is_process: bool
    queue: str
    priority: int
    retry_policy: RetryPolicy
    timeout_seconds: float | None
    memory_mib: int | None
    concurrency_key: str | None
    concurrency_limit: int
    unique_key: str | None
    permanent: tuple[type[BaseException], ...]
    description: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, as if it were no task."""
        return self.function(*args, **kwargs)

    def checked(self, args: Any, *, loc: Sequence[str | int] = ("args",)) -> dict[str, Any]:
        """Arguments as JSON, defaults filled in. Raises `InvalidBody` naming every field that is wrong.

        A member that holds a reference to another job's result is checked when that result is there.
        """
        given = msgspec.to_builtins(args, str_keys=True) if args is not None else {}
        path = tuple(loc)
        if not isinstance(given, dict):
            raise rejected([problem("value_error", "the arguments must be an object", path, given)])
        if self.args is None:
            if given:
                raise rejected(
                    problem("unknown_field", f'task "{self.kind}" takes no arguments', (*path, name), value)
                    for name, value in given.items()
                )
            return {}
        referring = {name: value for name, value in given.items() if any(references(value))}
        open_names = frozenset(referring) & set(self.args.__struct_encode_fields__)
        model = _with_any(self.args, open_names)
        # What the Struct itself says, and no longer field by field, can only be asked of whole arguments.
        whole = model if open_names else self.args
        try:
            msgspec.convert(given, model, str_keys=True)
            typed = msgspec.convert(given, whole, str_keys=True)
        except (msgspec.ValidationError, OverflowError):
            raise rejected(
                msgspec.structs.replace(
                    error,
                    loc=("body", *path, *error.loc[1:]),
                    pointer="".join(f"/{part}" for part in path) + (error.pointer or ""),
                )
                for error in invalid_fields(given, model) or invalid_fields(given, whole)
            ) from None
        encoded: dict[str, Any] = msgspec.to_builtins(typed, str_keys=True)
        return encoded

    def decoded(self, args: Mapping[str, Any]) -> Any:
        """The Struct for stored arguments. Raises `Invalid` when they no longer fit: the task has changed."""
        if self.args is None:
            return None
        try:
            return msgspec.convert(args, self.args, str_keys=True)
        except msgspec.ValidationError as error:
            raise Invalid(f'The arguments do not fit task "{self.kind}": {error}') from error

    def called(self, args: Any, job: RunningJob) -> Any:
        """Call the function with what it takes; of an async one this is the coroutine."""
        given = [] if self.args is None else [args]
        return self.function(*given, job) if self.takes_job else self.function(*given)


def task(
    kind: str | None = None,
    *,
    retries: int = 0,
    timeout: float | None = None,
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    process: bool | None = None,
    memory_mib: int | None = None,
    retry_delay: float = 1.0,
    max_retry_delay: float = 300.0,
    permanent: Sequence[type[BaseException]] = (),
    concurrency_key: str | None = None,
    concurrency_limit: int = 1,
    unique_key: str | None = None,
) -> Callable[[Callable[..., Any]], Task]:
    """Make a function a task that can be submitted as a job.

    The function takes a Struct with its arguments, or nothing, and after that, if it wants, the `RunningJob`. What it
    returns must be JSON to msgspec, at most 1 MiB. A plain function runs in a process of its own, where it may block,
    be killed and be limited to `memory_mib`; an `async def` runs in the worker's event loop, unless `process=True`.

    `timeout`, `retry_delay` and `max_retry_delay` are seconds. Errors of the types `permanent` are not retried. Of
    the jobs whose `concurrency_key` comes out the same, `concurrency_limit` run at a time; a second unfinished job
    with the same `unique_key` is not made. Both keys may hold arguments: `"tenant-{tenant}"`.
    Raises `Misconfigured`.
    """

    def decorate(function: Callable[..., Any]) -> Task:
        name = str(kind or getattr(function, "__name__", ""))
        where = f"@task {name}"
        args, takes_job = _signature(function, where)
        is_async = inspect.iscoroutinefunction(function)
        is_process = not is_async if process is None else process
        if not is_async and not is_process:
            raise Misconfigured(
                f"{where}: a plain function would stop the worker's loop; make it `async def`, or leave process out"
            )
        _check(where, "kind", name, Name)
        _check(where, "queue", queue, Name)
        _check(where, "priority", priority, Priority)
        _check(where, "timeout", timeout, TimeoutSeconds | None)
        _check(where, "memory_mib", memory_mib, typing.Annotated[int, msgspec.Meta(ge=16)] | None)
        _check(where, "concurrency_limit", concurrency_limit, typing.Annotated[int, msgspec.Meta(ge=1, le=100_000)])
        _check(where, "retries", retries, typing.Annotated[int, msgspec.Meta(ge=0, le=1_000)])
        _check(where, "retry_delay", retry_delay, typing.Annotated[float, msgspec.Meta(ge=0, le=86_400)])
        _check(where, "max_retry_delay", max_retry_delay, typing.Annotated[float, msgspec.Meta(ge=0, le=604_800)])
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in _listed(permanent)):
            raise Misconfigured(f"{where}: permanent={permanent!r}: a list of types of exceptions is expected")
        if memory_mib is not None and not is_process:
            raise Misconfigured(f"{where}: memory_mib needs process=True")
        for option, template in (("concurrency_key", concurrency_key), ("unique_key", unique_key)):
            _check(where, option, template, Key | None)
            for place in _PLACE.findall(template or ""):
                known = () if args is None else args.__struct_encode_fields__
                if place not in known:
                    raise Misconfigured(
                        f"{where}: {option} names {place!r}, which is no argument{suggestion(place, known)}"
                    )
        return Task(
            kind=name,
            function=function,
            args=args,
            takes_job=takes_job,
            is_process=is_process,
            queue=queue,
            priority=priority,
            retry_policy=RetryPolicy(
                retries=retries, first_delay_seconds=retry_delay, max_delay_seconds=max(max_retry_delay, retry_delay)
            ),
            timeout_seconds=timeout,
            memory_mib=memory_mib,
            concurrency_key=concurrency_key,
            concurrency_limit=concurrency_limit,
            unique_key=unique_key,
            permanent=(*PERMANENT, *permanent),
            description=inspect.getdoc(function) or "",
        )

    return decorate


class Tasks:
    """The tasks of a service by kind."""

    def __init__(self, tasks: Sequence[Task] = ()) -> None:
        self._tasks: dict[str, Task] = {}
        for item in tasks:
            if not isinstance(item, Task):
                raise Misconfigured(f"with_tasks({item!r}): decorate the function with @task()")
            if item.kind in self._tasks:
                raise Misconfigured(f"two tasks have the kind {item.kind!r}: give each its own")
            self._tasks[item.kind] = item

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds there are."""
        return tuple(self._tasks)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that the tasks go to, in the order of their first use."""
        return tuple(dict.fromkeys(item.queue for item in self))

    def find(self, kind: str) -> Task | None:
        """The task of a kind, or None."""
        return self._tasks.get(kind)

    def get(self, kind: str) -> Task:
        """The task of a kind. Raises `NotFound`."""
        found = self._tasks.get(kind)
        if found is None:
            known = f"; there are: {', '.join(self._tasks) or 'none'}"
            raise NotFound(f'There is no task "{cut(kind)}"{suggestion(kind[:100], self._tasks) or known}')
        return found


def references(value: Any) -> Iterator[str]:
    """The names that arguments refer to, wherever in them."""
    if isinstance(value, Mapping):
        if set(value) == {REFERENCE} and isinstance(value[REFERENCE], str):
            yield value[REFERENCE]
        else:
            for member in value.values():
                yield from references(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from references(member)


def resolved(value: Any, found: Mapping[str, Any]) -> Any:
    """Arguments with every reference replaced by what it is in `found`."""
    if isinstance(value, Mapping):
        if set(value) == {REFERENCE} and isinstance(value[REFERENCE], str):
            return found[value[REFERENCE]]
        return {name: resolved(member, found) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(member, found) for member in value]
    return value


def filled(template: str | None, args: Mapping[str, Any]) -> str | None:
    """A key with its `{argument}`s filled in; a digest stands for the rest of one that is too long."""
    if template is None:
        return None
    # An empty text as JSON writes it, for a key is never empty.
    key = _PLACE.sub(lambda match: _plain(args.get(match[1])), template) or '""'
    if len(key) <= MOST_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: MOST_KEY_CHARACTERS - len(digest) - 1]}:{digest}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _within_percent(percent: float) -> float | None:
    """The nearest percentage; None for a NaN, which is near to nothing."""
    return None if math.isnan(percent) else min(max(percent, 0.0), 100.0)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _check(where: str, option: str, value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{where}: {option}={value!r}: {error}") from error


def _signature(function: Callable[..., Any], where: str) -> tuple[type[msgspec.Struct] | None, bool]:
    """The Struct that a task's function takes, and whether it takes the running job."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise Misconfigured(f"{where}: a generator does nothing when it is called; return the result instead")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise Misconfigured(f"{where}: an annotation cannot be read ({error})") from error
    parameters = inspect.signature(function).parameters
    kinds = [hints.get(name) if parameter.kind in _BY_POSITION else None for name, parameter in parameters.items()]
    takes_job = bool(kinds) and kinds[-1] is RunningJob
    rest = kinds[:-1] if takes_job else kinds
    args = rest[0] if rest else None
    if len(rest) > 1 or (rest and not (isinstance(args, type) and issubclass(args, msgspec.Struct))):
        raise Misconfigured(
            f"{where}: it takes a msgspec Struct with its arguments, a RunningJob, both in this order, or nothing"
        )
    if args is not None and (args.__struct_config__.array_like or args.__struct_config__.tag is not None):
        raise Misconfigured(f"{where}: {args.__name__} is array_like or has a tag; arguments are a plain object")
    return args, takes_job


# Made once for each set of members that refer to results; it takes longer than all the rest of a submission.
@lru_cache(maxsize=1_000)
def _with_any(model: type[msgspec.Struct], names: frozenset[str]) -> type[msgspec.Struct]:
    """The arguments as they are checked at the door: strict, and anything where a result will be put in."""
    hints = typing.get_type_hints(model, include_extras=True)
    fields: list[Any] = []
    for member in msgspec.structs.fields(model):
        kind = Any if member.encode_name in names else hints[member.name]
        default = {"default": member.default, "default_factory": member.default_factory}
        given = {name: value for name, value in default.items() if value is not msgspec.NODEFAULT}
        fields.append((member.name, kind, msgspec.field(name=member.encode_name, **given)))
    return msgspec.defstruct(model.__name__, fields, kw_only=True, forbid_unknown_fields=True, module=model.__module__)
