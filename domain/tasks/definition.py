"""What a task is: a function, the arguments it takes, and how it is to be run."""

import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from domain.errors import Invalid
from domain.retries import RetryPolicy
from domain.tasks.resolution import references
from domain.tasks.running import RunningJob
from domain.validation import invalid_fields, problem, rejected


class Task(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A function that runs as a job; made by `@task`.

    `is_process` says that it runs in a process of its own. `concurrency_key` and `unique_key` may hold `{argument}`.
    `args` is the Struct of its arguments, None when it takes none; `takes_job` that it wants the `RunningJob`.
    One that `is_internal` is submitted by the service itself, and clients do not see it. Who cancels the job of one
    that `is_whole` cancels what it depends on, too: those jobs are parts of it.
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
    is_internal: bool = False
    is_whole: bool = False

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
