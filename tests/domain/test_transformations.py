"""What a transformation is, what it may be asked, and by which key its result is known."""

import json
import random
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from domain.errors import InvalidBody, Misconfigured
from domain.frames import DataFrame
from domain.transformations import Transformation, TransformationRouter, content_key, defined
from domain.transformations.keys import data_hash
from domain.transformations.outputs import WrongOutput, encode_output
from domain.transformations.requests import Requests


class Inner(msgspec.Struct, omit_defaults=True):
    weight: float = 0.5
    words: list[str] = []


class Params(msgspec.Struct, omit_defaults=True):
    size: int = 3
    ratio: float = 1.0
    name: str | None = None
    inner: Inner = msgspec.field(default_factory=Inner, name="in-ner")
    more: dict[str, Any] = {}


class HTTPMonthlyMean(TransformationRouter):
    """Means.

    Of months.
    """

    def transform(self, data: DataFrame, params: Params) -> DataFrame:
        return data


MEAN = defined(HTTPMonthlyMean, "abc")


def key_of(body: str, transformation: Transformation = MEAN) -> str | None:
    request = Requests(transformation).read(body.encode())
    return content_key(transformation.name, transformation.code_version, request.params, data_hash(request.data))


# What it is


def test_everything_is_read_from_the_class() -> None:
    assert (MEAN.name, MEAN.title, MEAN.description) == (
        "http_monthly_mean",
        "Http monthly mean",
        "Means.\n\nOf months.",
    )
    assert (MEAN.version, MEAN.code_version, MEAN.label) == ("1", "1+abc", "http_monthly_mean@1")
    assert (MEAN.data, MEAN.params, MEAN.output, MEAN.is_async, MEAN.takes_frames) == (
        *(DataFrame, Params, DataFrame, False),
        True,
    )


def test_an_instance_may_have_arguments_of_its_own() -> None:
    class Scaled(TransformationRouter):
        def __init__(self, factor: int) -> None:
            self.factor = factor

        async def transform(self, data: int) -> int:
            return data * self.factor

    with pytest.raises(Misconfigured, match=r"give with_transformations\(\) an instance"):
        defined(Scaled, "")
    made = defined(Scaled(3), "")
    assert (made.is_async, made.params, made.takes_frames) == (True, None, False)


class Needs(msgspec.Struct):
    size: int


class Strange:
    pass


def made(name: str = "x", version: Any = "1", **hints: Any) -> type[TransformationRouter]:
    def transform(self: Any, data: Any, params: Any) -> Any:
        return data

    transform.__annotations__ = {"data": int, "params": Params, "return": int, **hints}
    return type("Made", (TransformationRouter,), {"name": name, "version": version, "transform": transform})


@pytest.mark.parametrize(
    "kind, said",
    [
        (made(name="Grüße"), "name 'Grüße'"),
        (made(name="a/b"), "name 'a/b'"),
        (made(version=2), "version 2"),
        (made(version="a b"), "version 'a b'"),
        (made(data=Strange), "has no JSON"),
        (made(params=dict[str, int]), "must be a msgspec Struct"),
        (made(params=Needs), "Needs.size needs a default value"),
        (made(**{"return": None}), "annotate it as"),
        (made(data="Nowhere"), "cannot be read"),
        (type("Empty", (TransformationRouter,), {}), "it needs a method transform"),
        (type("Bare", (TransformationRouter,), {"transform": lambda self, data: data}), "annotate it as"),
        (Strange, "derive Strange from TransformationRouter"),
    ],
)
def test_what_could_not_be_run_is_refused(kind: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        defined(kind, "")


# What it is asked


@pytest.mark.parametrize(
    "body, pointers",
    [
        ("{}", [""]),
        ("[]", [""]),
        ("", [""]),
        ('{"data": {"columns": ["a"], "data": [[1], [1, 2]]}}', ["/data/data/1"]),
        ('{"data": {"columns": ["a", "a", ""], "data": []}}', ["/data/columns/1", "/data/columns/2"]),
        ('{"data": {"columns": [1], "data": {}}}', ["/data/columns/0", "/data/data"]),
        ('{"data": {"columns": [], "data": []}, "params": {"size": 1.5, "x/y": 1}}', ["/params/size", "/params/x~1y"]),
        ('{"data": {"columns": [], "data": []}, "param": {}}', ["/param"]),
        ('{"data": {"columns": [], "data": []}, "params": {"in-ner": {"weight": "w"}}}', ["/params/in-ner/weight"]),
        ('{"frame_id": "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"}', ["", "/frame_id"]),
        ('{"data": ' + "[" * 101 + "]" * 101 + "}", [""]),
    ],
)
def test_every_mistake_is_named_where_it_is(body: str, pointers: list[str]) -> None:
    with pytest.raises(InvalidBody) as caught:
        Requests(MEAN).read(body.encode())
    assert [error.pointer for error in caught.value.errors] == pointers


def test_only_one_source_of_data_may_be_given() -> None:
    requests = Requests(MEAN, has_frames=True, resources=["users"])
    for body in ({}, {"data": 1, "frame_id": 2}, {"data": 1, "resource": "users"}, {"frame_id": None, "resource": 1}):
        with pytest.raises(InvalidBody, match='give exactly one of "data", "frame_id" or "resource"'):
            requests.read(json.dumps(body).encode())
    assert requests.read(b'{"resource": "users"}').query == {}
    # Only frames can be stored, or be rows.
    assert list(Requests(defined(made(), ""), has_frames=True, resources=["users"]).forms) == ["data"]


def test_an_example_that_is_no_request_is_refused() -> None:
    class Wrong(HTTPMonthlyMean):
        examples = {"good": {"data": {"columns": [], "data": []}}, "bad": {"data": {"columns": []}}}

    with pytest.raises(Misconfigured, match="example 'bad'"):
        Requests(defined(Wrong, "")).check_examples()


# Keys

cells = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
frames = st.integers(1, 4).flatmap(
    lambda width: st.fixed_dictionaries(
        {
            "columns": st.just([f"c{index}" for index in range(width)]),
            "data": st.lists(st.lists(cells | st.text(), min_size=width, max_size=width), max_size=5),
        }
    )
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
params = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(-1000, 1000),
        "ratio": st.floats(-1e6, 1e6) | st.integers(-1000, 1000).map(float),
        "name": st.none() | words,
        "in-ner": st.fixed_dictionaries({}, optional={"weight": st.floats(0, 1), "words": st.lists(words, max_size=3)}),
        "more": st.dictionaries(words, st.integers(0, 9), max_size=4),
    },
)
DEFAULTS = {"size": 3, "ratio": 1.0, "name": None, "in-ner": {"weight": 0.5, "words": []}, "more": {}}


def rewritten(value: Any, chance: random.Random) -> Any:
    """The same with the members of its objects in another order."""
    if isinstance(value, dict):
        members = [(name, rewritten(member, chance)) for name, member in value.items()]
        chance.shuffle(members)
        return dict(members)
    return [rewritten(item, chance) for item in value] if isinstance(value, list) else value


def text(value: Any, chance: random.Random) -> str:
    """JSON of a value, spelled in one of the ways it may be."""
    return json.dumps(value, indent=chance.choice([None, 2]), ensure_ascii=chance.choice([True, False]))


@given(frames, params, st.randoms(use_true_random=False))
def test_requests_that_mean_the_same_have_one_key(data: Any, given: dict[str, Any], chance: random.Random) -> None:
    inner = {**DEFAULTS["in-ner"], **given.get("in-ner", {})}  # type: ignore[dict-item]
    full = {**DEFAULTS, **given, "in-ner": inner}
    if full["ratio"].is_integer():
        full["ratio"] = int(full["ratio"])
    plain = json.dumps({"data": data, "params": given})
    assert key_of(plain) == key_of(text(rewritten({"params": full, "data": data}, chance), chance))
    if not given:
        assert key_of(plain) == key_of(json.dumps({"data": data}))


@pytest.mark.parametrize("spelled", ["1.5", "15e-1", "0.15E+1", "1.50"])
def test_a_number_is_the_same_however_it_is_spelled(spelled: str) -> None:
    body = '{"data": {"columns": ["a"], "data": [[%s]]}, "params": {"ratio": %s, "more": {"x": %s}}}'
    assert key_of(body % (spelled, spelled, spelled)) == key_of(body % ("1.5", "1.5", "1.5"))


@given(frames, frames, params, params)
def test_other_data_and_other_params_have_other_keys(one: Any, other: Any, first: Any, second: Any) -> None:
    decoded = [msgspec.json.decode(json.dumps(item), type=Params) for item in (first, second)]
    frames = [msgspec.json.encode(msgspec.json.decode(json.dumps(item), type=DataFrame)) for item in (one, other)]
    keys = {key_of(json.dumps({"data": data, "params": given})) for data, given in ((one, first), (other, second))}
    same_params = msgspec.json.encode(decoded[0], order="sorted") == msgspec.json.encode(decoded[1], order="sorted")
    assert len(keys) == (1 if frames[0] == frames[1] and same_params else 2)


BODY = {"data": {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}, "params": DEFAULTS}


@pytest.mark.parametrize(
    "path, value",
    [
        (("params", "size"), 4),
        (("params", "ratio"), 1.0000000000000002),
        (("params", "name"), ""),
        (("params", "in-ner", "weight"), 0),
        (("params", "in-ner", "words"), [""]),
        (("params", "more"), {"a": None}),
        (("data", "columns", 1), "c"),
        (("data", "data", 0, 0), 1.0),
        (("data", "data", 0, 0), "1"),
        (("data", "data", 0, 0), True),
        (("data", "data", 1, 1), ""),
        (("data", "data"), [[2, None], [1, "x"]]),
    ],
)
def test_any_change_changes_the_key(path: tuple[Any, ...], value: Any) -> None:
    changed = json.loads(json.dumps(BODY))
    target = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    assert key_of(json.dumps(changed)) != key_of(json.dumps(BODY))


def test_another_name_version_or_code_changes_the_key() -> None:
    keys = {
        content_key(name, code, Params(), data)
        for name in ("a", "b")
        for code in ("1+a", "1+b", "2+a")
        for data in ("0", "1")
    }
    assert len(keys) == 12
    assert all(key is not None and len(key) == 64 for key in keys)


def test_what_is_not_known_by_its_content_has_no_key() -> None:
    assert content_key("a", "1", Params(), None) is None


# What comes out


class Out(msgspec.Struct):
    size: Annotated[int, Meta(ge=0)]


@pytest.mark.parametrize(
    "kind, value, said",
    [
        (Out, Out(1), b'{"size":1}'),
        (Out, {"size": 1}, b'{"size":1}'),
        (float | None, float("nan"), b"null"),
        (dict[str, Any], {"a": float("nan")}, b'{"a":null}'),
        (DataFrame, DataFrame(["a"], [[float("inf")]]), b'{"columns":["a"],"data":[[null]]}'),
        (dict[str, Any], {"frame": DataFrame(["a"], [[1]])}, b'{"frame":{"columns":["a"],"data":[[1]]}}'),
    ],
)
def test_an_output_becomes_json(kind: Any, value: Any, said: bytes) -> None:
    assert encode_output(defined(made(**{"return": kind}), ""), value) == said


@pytest.mark.parametrize(
    "kind, value",
    [
        (Out, Out(-1)),
        (Out, None),
        (float, float("nan")),
        (Out, DataFrame(["a"], [])),
        (DataFrame, {"columns": ["a"], "data": None}),
        (DataFrame, DataFrame(["a", "a"], [])),
        (dict[str, Any], {"a": object()}),
        (dict[str, Any], [1]),
    ],
)
def test_an_output_that_was_not_promised_is_a_bug(kind: Any, value: Any) -> None:
    with pytest.raises(WrongOutput, match="x@1 has returned what it does not promise"):
        encode_output(defined(made(**{"return": kind}), ""), value)
