"""Bodies: what a client may send, with the constraints of the entity and of its storage, and how patches merge."""

import contextlib
import json
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Meta

from domain.bodies import Bodies, decode_object, fitting, merge_patch
from domain.entity import Entity
from domain.errors import InvalidBody
from domain.query import Field, Kind, Resource
from domain.query.fields import WrongValue
from infra.database.table import bounds_of
from tests.sample import ITEMS, Color, Item, Items

ID = "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"
BODIES = Bodies(ITEMS.bounded(bounds_of(Items)))


class Account(Entity, kw_only=True):
    """Has a hidden and a read-only field, and a rule of its own."""

    name: Annotated[str, Meta(min_length=2, max_length=40)]
    password: str = ""
    balance: int = 0
    level: Annotated[int, Meta(ge=0, lt=10)] = 0
    share: Annotated[int, Meta(gt=-5, le=5)] | None = None
    seen: set[str] = msgspec.field(default_factory=set)

    def __post_init__(self) -> None:
        if self.name == "root":
            raise ValueError("root is nobody's account")


ACCOUNTS = Resource(Account, "accounts", hidden={"password"}, read_only={"balance"})
BOUNDS = {
    "name": {"max_length": 20},
    "password": {"max_length": 5},
    "balance": {"minimum": -(2**31), "maximum": 2**31 - 1},
    "level": {"minimum": -32768, "maximum": 32767},
    "share": {"minimum": -32768, "maximum": 32767},
}
ACCOUNT = Bodies(ACCOUNTS.bounded(BOUNDS))


def created(body: Any, bodies: Bodies[Any] = BODIES) -> dict[str, Any]:
    return dict(bodies.decode_create(body if isinstance(body, bytes) else json.dumps(body).encode()))


def refused(body: Any, bodies: Bodies[Any] = BODIES) -> list[tuple[str, str | None]]:
    with pytest.raises(InvalidBody) as caught:
        created(body, bodies)
    return [(error.type, error.pointer) for error in caught.value.errors]


def patched(stored: Any, patch: Any, bodies: Bodies[Any] = BODIES) -> dict[str, Any]:
    decoded = bodies.decode_patch(patch if isinstance(patch, bytes) else json.dumps(patch).encode())
    return bodies.merge(msgspec.to_builtins(stored), decoded)


# Creating


def test_only_what_was_sent_is_set() -> None:
    assert created({"name": "a"}) == {"name": "a"}
    assert created({"name": "a", "note": None, "tags": []}) == {"name": "a", "note": None, "tags": []}


@pytest.mark.parametrize(
    "name, sent, expected",
    [
        ("id", ID.lower(), ID),
        ("color", "blue", Color.BLUE),
        ("size", 2**31 - 1, 2**31 - 1),
        ("size", -(2**31), -(2**31)),
        ("big", 2**63 - 1, 2**63 - 1),
        ("ratio", 1, 1.0),
        ("price", "12.5", Decimal("12.50")),
        ("price", 12.5, Decimal("12.50")),
        ("price", "9999999999.99", Decimal("9999999999.99")),
        ("price", "1.500000000000000000000000000000000", Decimal("1.50")),
        ("price", "-0", Decimal("0.00")),
        ("price", "0e99999", Decimal("0.00")),
        ("seen_at", "2025-01-31T14:00:00+02:00", datetime(2025, 1, 31, 12, tzinfo=UTC)),
        ("clock", "12:30:00.5", time(12, 30, 0, 500000)),
        ("labels", ["é", "\U0001f600"], ["é", "\U0001f600"]),
        ("numbers", [1, 2], [1, 2]),
        ("meta", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("tags", ["a", "A"], ["a", "A"]),
        ("name", "x" * 50, "x" * 50),
    ],
)
def test_a_value_becomes_its_python_type(name: str, sent: Any, expected: Any) -> None:
    found = created({"name": "a", name: sent})[name]
    assert (found, str(found)) == (expected, str(expected))


@pytest.mark.parametrize(
    "name, sent, kind",
    [
        ("id", "x", "value_error"),
        ("id", f"{ID[:-1]}\n", "value_error"),
        ("id", None, "value_error"),
        ("name", "", "value_error"),
        ("name", "x" * 51, "value_error"),
        ("name", None, "value_error"),
        ("name", "a\0", "value_error"),
        ("note", 5, "value_error"),
        ("color", "RED", "value_error"),
        ("size", 2**31, "value_error"),
        ("size", -(2**31) - 1, "value_error"),
        ("size", 10**400, "value_error"),
        ("size", "5", "value_error"),
        ("size", 5.5, "value_error"),
        ("size", True, "value_error"),
        ("big", 2**63, "value_error"),
        ("price", "12.345", "value_error"),
        ("price", "10000000000", "value_error"),
        ("price", "1e30", "value_error"),
        ("price", "1e1000000", "value_error"),
        ("price", "1e-9999999", "value_error"),
        ("price", "12.34000000000000000000000000000000001", "value_error"),
        ("price", "NaN", "value_error"),
        ("price", "sNaN", "value_error"),
        ("price", "-Infinity", "value_error"),
        ("is_new", 1, "value_error"),
        ("seen_at", "2025-01-31T14:00:00", "value_error"),
        ("seen_at", "0001-01-01T00:00:00+01:00", "value_error"),
        ("seen_at", "9999-12-31T23:59:59-01:00", "value_error"),
        ("day", "2025-02-30", "value_error"),
        ("clock", "12:00:00+02:00", "value_error"),
        ("clock", "12:00:00Z", "value_error"),
        ("reference", "1", "value_error"),
        ("tags", ["a b"], "value_error"),
        ("tags", ["a", "b", "a"], "duplicate"),
        ("meta", [], "value_error"),
        ("surprise", 1, "unknown_field"),
    ],
)
def test_a_value_that_cannot_be_kept_is_refused(name: str, sent: Any, kind: str) -> None:
    [(found, place)] = refused({"name": "a"} | {name: sent})
    assert (found, (place or "").split("/")[1]) == (kind, name)


def test_every_error_is_named_at_once() -> None:
    body = {
        "size": "x",
        "seen_at": "x",
        "detail": {"width": "x", "depth": 1},
        "labels": ["a", 5],
        "tags": ["a", "a", "b c"],
        "x": 1,
    }
    assert refused(body) == [
        ("value_error", "/tags/2"),
        ("missing", "/name"),
        ("value_error", "/size"),
        ("value_error", "/seen_at"),
        ("value_error", "/labels/1"),
        ("value_error", "/detail/width"),
        ("unknown_field", "/detail/depth"),
        ("unknown_field", "/x"),
        ("duplicate", "/tags"),
    ]


def test_every_error_that_only_storage_has_is_named_at_once() -> None:
    body = {
        "name": "\0",
        "meta": {"a": ["x", {"b\0": "\0"}]},
        "detail": {"width": 1, "unit": "\0"},
        "labels": ["\0"],
        "seen_at": "0001-01-01T00:00:00+01:00",
        "price": "0.001",
        "tags": ["b", "b"],
    }
    assert refused(body) == [
        ("value_error", "/name"),
        ("value_error", "/labels/0"),
        ("value_error", "/meta/a/1/b\0"),
        ("value_error", "/meta/a/1/b\0"),
        ("value_error", "/detail/unit"),
        ("value_error", "/seen_at"),
        ("value_error", "/price"),
        ("duplicate", "/tags"),
    ]


@pytest.mark.parametrize(
    "body, kind",
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"{'name': 1}", "json_invalid"),
        (b'{"name": "a"} x', "json_invalid"),
        (b'{"name": NaN}', "json_invalid"),
        (b'"\xff"', "json_invalid"),
        (b'{"name": "\xff"}', "json_invalid"),
        (b'{"name": "\\ud800"}', "json_invalid"),
        (b'{"name": "\\ud800x"}', "json_invalid"),
        (b'{"name": "\\udc00"}', "json_invalid"),
        (b'{"name": "a", "meta": {"\\ud800": 1}}', "json_invalid"),
        (b'{"name": "\xed\xa0\x80"}', "json_invalid"),
        (b'{"name": "a\nb"}', "json_invalid"),
        (b'{"size": ' + b"9" * 5000 + b"}", "json_invalid"),
        (b'{"meta": ' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}", "json_invalid"),
        (b"[" * 100_000, "json_invalid"),
        (b"[]", "type"),
        (b"null", "type"),
        (b'"x"', "type"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, kind: str) -> None:
    assert refused(body) == [(kind, "")]
    with pytest.raises(InvalidBody):
        BODIES.decode_patch(body)
    with pytest.raises(InvalidBody):
        decode_object(body)


@pytest.mark.parametrize("depth", [30, 90, 150, 400, 900, 980])
@pytest.mark.parametrize("leaf", [b"1", b'"\\u0000"', b'"x'])
def test_a_nested_body_is_taken_or_refused_and_nothing_else(depth: int, leaf: bytes) -> None:
    value = b'{"a":[' * (depth // 2) + leaf + b"]}" * (depth // 2)
    body = b'{"name":"a","meta":{"m":' + value + b"}}"
    is_fine = leaf == b"1" and depth <= 90
    with contextlib.nullcontext() if is_fine else pytest.raises(InvalidBody):
        BODIES.decode_create(body)
    with contextlib.nullcontext() if is_fine else pytest.raises(InvalidBody):
        patched(Item(name="a", meta={"m": {"a": 1}}), body)


def test_brackets_in_text_are_no_nesting() -> None:
    assert created({"name": "[" * 50, "note": '{"\\' * 500})["note"] == '{"\\' * 500


# Server-managed, hidden and read-only fields


def test_server_managed_and_read_only_fields_may_be_sent_back_and_are_ignored() -> None:
    body = {"name": "ada", "created_at": "x", "updated_at": 5, "balance": {"a": 1}, "password": "secre"}
    assert created(body, ACCOUNT) == {"name": "ada", "password": "secre"}
    assert patched(Account(name="ada"), body, ACCOUNT) == {"name": "ada", "password": "secre"}


def test_an_id_in_a_patch_is_ignored() -> None:
    assert patched(Item(name="a"), {"id": "whatever", "size": 3}) == {"size": 3}


@pytest.mark.parametrize(
    "name, value, is_valid",
    [
        ("name", "x" * 20, True),
        ("name", "x" * 21, False),
        ("name", "x", False),
        ("password", "12345", True),
        ("password", "123456", False),
        ("level", 9, True),
        ("level", 10, False),
        ("level", -1, False),
        ("share", None, True),
        ("share", 5, True),
        ("share", -4, True),
        ("share", 6, False),
        ("share", -5, False),
    ],
)
def test_the_narrower_of_entity_and_storage_counts(name: str, value: Any, is_valid: bool) -> None:
    body = {"name": "ada"} | {name: value}
    if is_valid:
        assert created(body, ACCOUNT)[name] == value
        assert patched(Account(name="ada"), {name: value}, ACCOUNT) == {name: value}
    else:
        assert refused(body, ACCOUNT) == [("value_error", f"/{name}")]
        with pytest.raises(InvalidBody):
            patched(Account(name="ada"), {name: value}, ACCOUNT)


def test_an_entity_may_refuse_a_combination() -> None:
    with pytest.raises(InvalidBody, match="root is nobody's account"):
        ACCOUNT.construct({"name": "root"})
    assert ACCOUNT.construct({"name": "ada", "level": 3}).level == 3


# Patching


@pytest.mark.parametrize(
    "target, patch, expected",
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_merge_as_in_the_appendix_of_rfc_7396(target: Any, patch: Any, expected: Any) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == expected
    assert json.dumps(target) == before


def test_an_absent_field_stays_and_a_null_clears() -> None:
    stored = Item(name="a", note="n", meta={"a": 1, "b": {"c": 2}}, labels=["x"])
    patch = {"note": None, "meta": {"a": None, "b": {"d": 3}}, "labels": ["y"]}
    assert patched(stored, patch) == {"note": None, "meta": {"b": {"c": 2, "d": 3}}, "labels": ["y"]}


def test_a_nested_struct_merges_member_by_member() -> None:
    stored = BODIES.construct(created({"name": "a", "detail": {"width": 3, "unit": "mm"}}))
    assert patched(stored, {"detail": {"width": 4}})["detail"] == msgspec.convert(
        {"width": 4, "unit": "mm"}, type(stored.detail)
    )
    assert patched(stored, {"detail": {"unit": None}})["detail"].unit == "cm"
    assert patched(stored, {"detail": None}) == {"detail": None}


@pytest.mark.parametrize(
    "patch, expected",
    [
        ({"name": None}, [("value_error", "/name")]),
        ({"name": "", "size": "x"}, [("value_error", "/name"), ("value_error", "/size")]),
        ({"detail": {"width": None}}, [("missing", "/detail/width")]),
        ({"x": 1, "y": 2}, [("unknown_field", "/x"), ("unknown_field", "/y")]),
        ({"tags": ["a", "a"]}, [("duplicate", "/tags")]),
        ({"price": "0.001"}, [("value_error", "/price")]),
        ({"meta": {"a": "\0"}}, [("value_error", "/meta/a")]),
        ({"seen_at": "2025-01-01T00:00:00"}, [("value_error", "/seen_at")]),
    ],
)
def test_a_patch_names_every_error_at_once(patch: Any, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidBody) as caught:
        patched(Item(name="a", detail=None), patch)
    assert [(error.type, error.pointer) for error in caught.value.errors] == expected


def test_merging_keeps_types_that_json_writes_as_text() -> None:
    stored = Item(name="a", price=Decimal("1.50"), seen_at=datetime(2025, 1, 1, tzinfo=UTC))
    assert patched(stored, {"price": "2"}) == {"price": Decimal("2.00")}
    later = datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert patched(stored, {"seen_at": later.isoformat()}) == {"seen_at": later}


# Properties

decimals = st.decimals(allow_nan=False, allow_infinity=False) | st.decimals("-1e13", "1e13", places=4)


@given(decimals, st.integers(1, 15), st.integers(0, 15))
def test_a_decimal_fits_exactly_when_its_column_would_not_round_it(value: Decimal, precision: int, scale: int) -> None:
    assume(scale <= precision)
    field = Field(name="x", kind=Kind.DECIMAL, nullable=False, value_type=Decimal, precision=precision, scale=scale)
    shifted = value.scaleb(scale) if abs(value.adjusted()) < 100 else None
    fits = shifted is not None and shifted == shifted.to_integral_value() and abs(shifted) < 10**precision
    try:
        found = fitting(value, field)
    except WrongValue:
        assert not fits
    else:
        assert fits
        assert found == value
        assert found.as_tuple().exponent == -scale


def test_a_decimal_without_a_column_is_taken_as_it_is() -> None:
    field = Field(name="x", kind=Kind.DECIMAL, nullable=False, value_type=Decimal)
    assert fitting(Decimal("1.23456789"), field) == Decimal("1.23456789")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(Item.__struct_fields__) | st.text(st.characters()), inner, max_size=5)
    ),
    max_leaves=15,
)
nearly_right = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=60),
        "color": st.sampled_from(["red", "pink"]),
        "size": st.integers(),
        "ratio": st.floats(),
        "price": st.decimals().map(str) | st.floats(),
        "seen_at": st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
        "clock": st.times(timezones=st.none() | st.just(UTC)).map(time.isoformat),
        "labels": st.lists(st.text(), max_size=3),
        "meta": st.dictionaries(st.text(), json_values, max_size=3),
        "detail": st.none() | st.fixed_dictionaries({"width": st.integers()}),
        "tags": st.lists(st.sampled_from("abc"), max_size=3),
    },
)


def taken(body: bytes) -> None:
    stored = msgspec.to_builtins(Item(name="a", meta={"a": {"b": 1}}, price=Decimal("1.50")))
    with contextlib.suppress(InvalidBody):
        BODIES.construct(BODIES.decode_create(body))
    with contextlib.suppress(InvalidBody):
        BODIES.merge(stored, BODIES.decode_patch(body))


@given(st.binary())
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    taken(body)


@given(json_values | nearly_right, st.booleans())
def test_any_json_is_taken_or_refused(value: Any, is_ascii: bool) -> None:
    taken(json.dumps(value, ensure_ascii=is_ascii).encode(errors="surrogatepass"))


@given(nearly_right, nearly_right)
def test_a_merge_of_what_was_taken_is_what_a_merge_of_the_json_would_be(one: Any, other: Any) -> None:
    try:
        entity = BODIES.construct(created({"name": "a"} | one))
        values = patched(entity, other)
    except InvalidBody:
        return
    merged = merge_patch(msgspec.to_builtins(entity), other)
    for name, value in values.items():
        assert value == created({"name": "a"} | {name: merged.get(name)})[name]


def test_every_kind_of_body_has_a_name_of_its_own() -> None:
    assert (BODIES.create.__name__, BODIES.patch.__name__) == ("ItemCreate", "ItemPatch")
