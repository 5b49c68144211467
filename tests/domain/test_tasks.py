"""Tasks: what the decorator takes and refuses, how arguments are checked, and what a run can say."""

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from domain.errors import Invalid, InvalidBody, Misconfigured, NotFound
from domain.jobs import Key
from domain.retries import PERMANENT, PermanentFailure, RetryPolicy
from domain.tasks import Canceled, RunningJob, Task, Tasks, filled, references, resolved, task


class Args(msgspec.Struct):
    """Arguments with every kind of member."""

    a: Annotated[int, Meta(ge=0)]
    text: str = "x"
    names: list[str] = []
    anything: Any = None


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    is_new: bool = True


class Even(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("must be even")


class Bare(msgspec.Struct, array_like=True):
    a: int


class Tagged(msgspec.Struct, tag=True):
    a: int


async def light(args: Args) -> int:
    """Do little.

    And say so.
    """
    return args.a


def heavy(args: Args, job: RunningJob) -> str:
    return f"{args.a} {job.id}"


def nothing() -> None: ...


def only_job(job: RunningJob) -> None: ...


def job_first(job: RunningJob, args: Args) -> None: ...


def two(args: Args, other: Args) -> None: ...


def untyped(args) -> None: ...  # type: ignore[no-untyped-def]


def no_struct(args: dict[str, int]) -> None: ...


def by_name(*, args: Args) -> None: ...


def any_number(*args: Args) -> None: ...


def bare(args: Bare) -> None: ...


def tagged(args: Tagged) -> None: ...


def unknown(args: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def generator(args: Args) -> Any:
    yield args


async def async_generator(args: Args) -> Any:
    yield args


def running(send: Callable[[Any], None] = lambda message: None) -> RunningJob:
    return RunningJob(id="id", kind="work", attempt=1, max_attempts=3, send=send)


# The decorator


def test_a_task_is_what_it_was_declared_as() -> None:
    made = task(
        "mail.send",
        retries=3,
        timeout=9.5,
        queue="mail",
        priority=5,
        retry_delay=2.0,
        max_retry_delay=60.0,
        permanent=[KeyError],
        concurrency_key="tenant-{a}",
        concurrency_limit=2,
        unique_key="{text}",
    )(light)
    assert (made.kind, made.queue, made.priority, made.timeout_seconds) == ("mail.send", "mail", 5, 9.5)
    assert made.retry_policy == RetryPolicy(retries=3, first_delay_seconds=2.0, max_delay_seconds=60.0)
    assert (made.concurrency_key, made.concurrency_limit, made.unique_key) == ("tenant-{a}", 2, "{text}")
    assert (made.args, made.takes_job, made.is_process) == (Args, False, False)
    assert made.permanent == (*PERMANENT, KeyError)
    assert made.description == "Do little.\n\nAnd say so."


def test_a_task_that_says_nothing_has_the_defaults() -> None:
    made = task()(heavy)
    assert (made.kind, made.queue, made.priority, made.timeout_seconds) == ("heavy", "default", 0, None)
    assert (made.args, made.takes_job, made.is_process, made.memory_mib) == (Args, True, True, None)
    assert made.retry_policy == RetryPolicy()
    assert (made.concurrency_key, made.unique_key, made.description) == (None, None, "")


@pytest.mark.parametrize(
    "function, args, takes_job",
    [(light, Args, False), (heavy, Args, True), (nothing, None, False), (only_job, None, True)],
)
def test_a_task_takes_arguments_and_the_running_job(
    function: Callable[..., Any], args: type | None, takes_job: bool
) -> None:
    made = task("x")(function)
    assert (made.args, made.takes_job) == (args, takes_job)


def test_a_longest_delay_is_never_shorter_than_the_first() -> None:
    assert task("x", retry_delay=900.0)(light).retry_policy.max_delay_seconds == 900.0


SIGNATURE = "@task x: it takes a msgspec Struct with its arguments, a RunningJob, both in this order, or nothing"


@pytest.mark.parametrize(
    "function, options, sentence",
    [
        (job_first, {}, SIGNATURE),
        (two, {}, SIGNATURE),
        (untyped, {}, SIGNATURE),
        (no_struct, {}, SIGNATURE),
        (by_name, {}, SIGNATURE),
        (any_number, {}, SIGNATURE),
        (bare, {}, "@task x: Bare is array_like or has a tag; arguments are a plain object"),
        (tagged, {}, "@task x: Tagged is array_like or has a tag; arguments are a plain object"),
        (unknown, {}, "@task x: an annotation cannot be read (name 'Nowhere' is not defined)"),
        (functools.partial(heavy), {}, "@task x: an annotation cannot be read (functools.partial("),
        (object(), {}, "@task x: an annotation cannot be read (<object object at "),
        (generator, {}, "@task x: a generator does nothing when it is called; return the result instead"),
        (async_generator, {}, "@task x: a generator does nothing when it is called; return the result instead"),
        (
            heavy,
            {"process": False},
            "@task x: a plain function would stop the worker's loop; make it `async def`, or leave process out",
        ),
        (light, {"memory_mib": 64}, "@task x: memory_mib needs process=True"),
        (heavy, {"memory_mib": 15}, "@task x: memory_mib=15: Expected `int` >= 16"),
        (light, {"kind": "a b"}, "@task a b: kind='a b': Expected `str` matching regex "),
        (light, {"queue": ""}, "@task x: queue='': Expected `str` of length >= 1"),
        (light, {"priority": 1_001}, "@task x: priority=1001: Expected `int` <= 1000"),
        (light, {"timeout": 0}, "@task x: timeout=0: Expected `float` > 0.0"),
        (light, {"timeout": "1"}, "@task x: timeout='1': Expected `float | null`, got `str`"),
        (light, {"retries": -1}, "@task x: retries=-1: Expected `int` >= 0"),
        (light, {"retries": True}, "@task x: retries=True: Expected `int`, got `bool`"),
        (light, {"retry_delay": math.nan}, "@task x: retry_delay=nan: Expected `float` >= 0.0"),
        (light, {"max_retry_delay": 1e9}, "@task x: max_retry_delay=1000000000.0: Expected `float` <= 604800.0"),
        (light, {"concurrency_limit": 0}, "@task x: concurrency_limit=0: Expected `int` >= 1"),
        (light, {"concurrency_key": ""}, "@task x: concurrency_key='': Expected `str` of length >= 1"),
        (
            light,
            {"concurrency_key": "{texts}"},
            "@task x: concurrency_key names 'texts', which is no argument; did you mean \"text\"?",
        ),
        (nothing, {"unique_key": "{a}"}, "@task x: unique_key names 'a', which is no argument"),
        (light, {"permanent": [ValueError()]}, "@task x: permanent=[ValueError()]: a list of types of exceptions"),
        (light, {"permanent": ValueError()}, "@task x: permanent=ValueError(): a list of types of exceptions"),
    ],
)
def test_what_cannot_be_a_task_is_refused(function: Callable[..., Any], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        task(**({"kind": "x"} | options))(function)
    assert str(caught.value).startswith(sentence)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(Misconfigured, match="@task <lambda>: kind='<lambda>'"):
        task()(lambda: None)


def test_a_decorated_function_can_still_be_called() -> None:
    job = running()
    assert task("x")(heavy)(Args(a=1), job) == "1 id"
    assert task("x")(heavy).called(Args(a=2), job) == "2 id"
    assert task("x")(nothing).called(None, job) is None
    assert task("x")(only_job).called(None, job) is None


# Arguments


def errors_of(made: Task, args: Any, **options: Any) -> dict[str, str]:
    with pytest.raises(InvalidBody) as caught:
        made.checked(args, **options)
    for error in caught.value.errors:
        assert error.pointer == "".join(f"/{part}" for part in error.loc[1:])
    return {str(error.pointer): error.msg for error in caught.value.errors}


CHECKED = task("work")(light)


@pytest.mark.parametrize(
    "given_, stored",
    [
        ({"a": 1}, {"a": 1, "text": "x", "names": [], "anything": None}),
        ({"a": 2, "text": "é", "names": ["b"]}, {"a": 2, "text": "é", "names": ["b"], "anything": None}),
        (Args(a=3, anything={"b": (1, 2)}), {"a": 3, "text": "x", "names": [], "anything": {"b": (1, 2)}}),
        (
            {"a": {"$ref": "one"}, "names": [{"$ref": "two"}]},
            {"a": {"$ref": "one"}, "names": [{"$ref": "two"}], "text": "x", "anything": None},
        ),
    ],
)
def test_arguments_are_stored_with_their_defaults(given_: Any, stored: dict[str, Any]) -> None:
    assert CHECKED.checked(given_) == stored


@pytest.mark.parametrize(
    "given_, errors",
    [
        (None, {"/args/a": '"a" is required'}),
        ({}, {"/args/a": '"a" is required'}),
        ({"a": -1}, {"/args/a": "Expected `int` >= 0"}),
        ({"a": "1"}, {"/args/a": "Expected `int`, got `str`"}),
        ({"a": 1, "b": 2, "c": 3}, {"/args/b": 'unknown field "b"', "/args/c": 'unknown field "c"'}),
        (
            {"a": None, "names": ["x", 1, 2]},
            {
                "/args/a": "Expected `int`, got `null`",
                "/args/names/1": "Expected `str`, got `int`",
                "/args/names/2": "Expected `str`, got `int`",
            },
        ),
        ([1], {"/args": "the arguments must be an object"}),
        ("a", {"/args": "the arguments must be an object"}),
        ({"a": {"$ref": 1}}, {"/args/a": "Expected `int`, got `object`"}),
        ({"a": {"$ref": "one"}, "text": 1}, {"/args/text": "Expected `str`, got `int`"}),
        ({"$ref": "one"}, {"/args/a": '"a" is required', "/args/$ref": 'unknown field "$ref"'}),
    ],
)
def test_wrong_arguments_are_all_named(given_: Any, errors: dict[str, str]) -> None:
    assert errors_of(CHECKED, given_) == errors


def test_errors_can_stand_elsewhere() -> None:
    assert errors_of(CHECKED, {}, loc=("nodes", "n1", "args")) == {"/nodes/n1/args/a": '"a" is required'}


def test_a_task_without_arguments_takes_none() -> None:
    made = task("work")(nothing)
    assert made.checked(None) == made.checked({}) == {}
    assert errors_of(made, {"a": 1, "b": 2}) == {
        "/args/a": 'task "work" takes no arguments',
        "/args/b": 'task "work" takes no arguments',
    }
    assert made.decoded({"whatever": 1}) is None


def test_members_are_called_as_the_struct_calls_them_outside() -> None:
    @task("work", unique_key="{firstName}")
    async def work(args: Renamed) -> None: ...

    assert work.checked({"firstName": "Ada"}) == {"firstName": "Ada", "isNew": True}
    assert work.checked(Renamed("Ada")) == {"firstName": "Ada", "isNew": True}
    assert work.decoded(work.checked({"firstName": {"$ref": "x"}}) | {"firstName": "Eve"}) == Renamed("Eve")
    assert errors_of(work, {"first_name": "Ada"}).keys() == {"/args/firstName", "/args/first_name"}
    with pytest.raises(Misconfigured, match="unique_key names 'first_name'"):
        task("work", unique_key="{first_name}")(work.function)


def test_what_a_struct_says_of_itself_is_checked_once_everything_is_there() -> None:
    @task("work")
    async def work(args: Even) -> None: ...

    assert work.checked({"number": 2}) == {"number": 2}
    assert errors_of(work, {"number": 3}) == {"/args": "must be even"}
    stored = work.checked({"number": {"$ref": "x"}})
    assert work.decoded(resolved(stored, {"x": 4})) == Even(4)
    with pytest.raises(Invalid, match='The arguments do not fit task "work": must be even'):
        work.decoded(resolved(stored, {"x": 5}))


def test_stored_arguments_that_no_longer_fit_are_refused() -> None:
    assert CHECKED.decoded({"a": 1}) == Args(a=1)
    # What a task no longer takes does no harm.
    assert CHECKED.decoded({"a": 1, "former": 2}) == Args(a=1)
    with pytest.raises(Invalid, match=r'The arguments do not fit task "work": .*missing required field `a`'):
        CHECKED.decoded({})


# References


@pytest.mark.parametrize(
    "args, names",
    [
        ({}, []),
        ({"a": {"$ref": "x"}}, ["x"]),
        ({"a": [{"$ref": "x"}, {"b": {"$ref": "y"}}, {"$ref": "x"}]}, ["x", "y", "x"]),
        ({"$ref": "x"}, ["x"]),
        ({"a": {"$ref": 1}}, []),
        ({"a": {"$ref": "x", "b": 1}}, []),
        ({"a": {"$ref": {"$ref": "x"}}}, ["x"]),
        ({"a": "$ref", "b": None, "c": 1.5}, []),
        (({"$ref": "x"},), ["x"]),
    ],
)
def test_references_are_found_wherever_they_are(args: Any, names: list[str]) -> None:
    assert list(references(args)) == names
    assert list(references(resolved(args, dict.fromkeys(names, 0)))) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from([{"$ref": "x"}, {"$ref": "y"}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "$ref"]), inner, max_size=2),
)


@given(json_values)
def test_resolving_by_references_to_themselves_changes_nothing(value: Any) -> None:
    assert resolved(value, {"x": {"$ref": "x"}, "y": {"$ref": "y"}, **_others(value)}) == value


def _others(value: Any) -> dict[str, Any]:
    return {name: {"$ref": name} for name in references(value)}


# Keys


@pytest.mark.parametrize(
    "template, args, key",
    [
        (None, {}, None),
        ("fixed", {}, "fixed"),
        ("tenant-{a}", {"a": 7}, "tenant-7"),
        ("{a}{b}", {"a": "x", "b": [1, "y"]}, 'x[1,"y"]'),
        ("{a}", {"a": None}, "null"),
        ("{a}", {"a": 1.5}, "1.5"),
        ("{a}", {}, "null"),
        ("{a}", {"a": ""}, '""'),
        ("{a}", {"a": "{b}", "b": "x"}, "{b}"),
        ("{ a } {}", {"a": 1}, "{ a } {}"),
    ],
)
def test_keys_are_filled_with_arguments(template: str | None, args: dict[str, Any], key: str | None) -> None:
    assert filled(template, args) == key


def test_keys_that_differ_only_far_behind_stay_different() -> None:
    one, other = (filled("import-{url}", {"url": "https://example.com/" + "x" * 300 + end}) for end in "ab")
    assert one != other
    assert len(one or "") == len(other or "") == 200
    assert (one or "").startswith("import-https://example.com/")
    assert filled("{a}", {"a": "x" * 200}) == "x" * 200


@given(st.text(max_size=400), st.text(max_size=400))
def test_keys_are_the_same_for_the_same_arguments_only(one: str, other: str) -> None:
    keys = [filled("k{a}", {"a": text}) for text in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    for key in keys:
        msgspec.convert(key, Key)


# The registry


def test_tasks_are_found_by_kind() -> None:
    first, second = task("first", queue="b")(light), task("second", queue="a")(nothing)
    tasks = Tasks([first, second, task("third", queue="b")(nothing)])
    assert tasks.kinds == ("first", "second", "third")
    assert tasks.queues == ("b", "a")
    assert list(tasks)[:2] == [first, second]
    assert len(tasks) == 3
    assert tasks.find("second") is tasks.get("second") is second
    assert tasks.find("unknown") is None
    with pytest.raises(NotFound, match=r'There is no task "frist"; did you mean "first"\?'):
        tasks.get("frist")
    with pytest.raises(NotFound, match='There is no task "zzz"; there are: first, second, third'):
        tasks.get("zzz")
    with pytest.raises(NotFound, match='There is no task "x"; there are: none'):
        Tasks().get("x")


def test_only_decorated_functions_of_different_kinds_are_taken() -> None:
    with pytest.raises(Misconfigured, match=r"with_tasks\(<function nothing at .*decorate the function with @task\(\)"):
        Tasks([nothing])  # type: ignore[list-item]
    with pytest.raises(Misconfigured, match="two tasks have the kind 'x': give each its own"):
        Tasks([task("x")(light), task("x")(nothing)])


# A run


@pytest.mark.parametrize(
    "percent, told",
    [(None, None), (0, 0.0), (12.5, 12.5), (-1, 0.0), (101, 100.0), (math.inf, 100.0), (math.nan, None)],
)
def test_progress_is_told_within_its_bounds(percent: float | None, told: float | None) -> None:
    sent: list[Any] = []
    running(sent.append).progress(percent, step="s" * 300, message="m" * 2_000)
    assert sent == [{"progress": {"percent": told, "step": "s" * 200, "message": "m" * 1_000}}]


def test_whatever_a_task_says_can_be_stored() -> None:
    sent: list[Any] = []
    job = running(sent.append)
    job.progress(step="a\0b", message="half \ud800")
    job.progress(step=7, message=PermanentFailure("x"))  # type: ignore[arg-type]
    job.log("line")
    job.log({"a": 1})  # type: ignore[arg-type]
    assert sent == [
        {"progress": {"percent": None, "step": "a\\0b", "message": "half \\ud800"}},
        {"progress": {"percent": None, "step": "7", "message": "x"}},
        {"log": "line"},
        {"log": "{'a': 1}"},
    ]


def test_a_run_that_was_told_to_stop_knows_it() -> None:
    job, other = running(), running()
    job.check()
    job.cancel()
    assert job.is_canceled
    assert not other.is_canceled
    with pytest.raises(Canceled):
        job.check()
