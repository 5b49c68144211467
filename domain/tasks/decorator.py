"""The decorator that makes a function a task, and refuses what could not be run."""

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from domain.errors import Misconfigured
from domain.jobs import DEFAULT_QUEUE, Key, Name, Priority, TimeoutSeconds
from domain.query.resource import suggestion
from domain.retries import PERMANENT, RetryPolicy
from domain.tasks.definition import Task
from domain.tasks.keys import places
from domain.tasks.running import RunningJob

_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


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
            for place in places(template):
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
