"""Identity: ids that increase, and the shapes of tags and e-mail addresses."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entity import (
    CROCKFORD,
    Email,
    Entity,
    Tag,
    Tags,
    Ulid,
    duplicate_tags,
    new_id,
    now_utc,
    parse_id,
    version_after,
)

ID = "01K5T0V9G8ZJ8Q6N4X3B7RM2WD"


def milliseconds(id: str) -> int:
    """The time in a ULID: its first ten characters."""
    number = 0
    for character in id[:10]:
        number = number * 32 + CROCKFORD.index(character)
    return number


def accepts(kind: object, value: object) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def test_new_ids_increase_strictly() -> None:
    ids = [new_id() for _ in range(100_000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(ids))


def test_new_ids_of_several_threads_are_distinct_and_increase_in_each() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(25_000)], range(4)))
    assert len({id for ids in made for id in ids}) == 100_000
    for ids in made:
        assert ids == sorted(ids)


def test_a_new_id_is_a_ulid_of_this_moment() -> None:
    before = now_utc()
    id = new_id()
    after = now_utc()
    assert accepts(Ulid, id)
    assert parse_id(id) == id
    made = datetime.fromtimestamp(milliseconds(id) / 1000, UTC)
    # The generator may run ahead of the clock when it makes very many ids in one millisecond.
    assert before - timedelta(milliseconds=1) <= made <= after + timedelta(seconds=1)


@pytest.mark.parametrize(
    "text, expected",
    [
        (ID, ID),
        (ID.lower(), ID),
        (ID[:13].lower() + ID[13:], ID),
        ("0" * 26, "0" * 26),
        ("7" + "Z" * 25, "7" + "Z" * 25),
        ("8" + "0" * 25, None),
        ("z" + "0" * 25, None),
        ("", None),
        (ID[:-1], None),
        (ID + "0", None),
        (f"{ID[:-1]}\n", None),
        (f" {ID[:-1]}", None),
        *((ID[:-1] + letter, None) for letter in "ILOUilou-_é"),
        ("0" * 25 + "ı", None),
        ("0" * 25 + "ß", None),
        ("0" * 25 + "٣", None),
        (ID[:12] + "\0" + ID[13:], None),
    ],
)
def test_an_id_is_read_in_either_case_and_nothing_else_is(text: str, expected: str | None) -> None:
    assert parse_id(text) == expected
    assert accepts(Ulid, text) == (expected is not None)


@given(st.text(max_size=30) | st.text(alphabet=CROCKFORD + CROCKFORD.lower() + "ıſK\n", min_size=26, max_size=26))
def test_reading_an_id_agrees_with_its_type(text: str) -> None:
    parsed = parse_id(text)
    assert (parsed is not None) == accepts(Ulid, text)
    assert parsed in {None, text.upper()}


@pytest.mark.parametrize(
    "tag, is_valid",
    [
        ("a", True),
        ("blue-green_2", True),
        ("grün", True),
        ("日本語", True),
        ("a" * 100, True),
        ("a" * 101, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("a,b", False),
        ("a\0", False),
    ],
)
def test_a_tag_is_one_word(tag: str, is_valid: bool) -> None:
    assert accepts(Tag, tag) == is_valid


def test_fifty_tags_are_the_most() -> None:
    assert accepts(Tags, [str(number) for number in range(50)])
    assert not accepts(Tags, [str(number) for number in range(51)])


@pytest.mark.parametrize(
    "address, is_valid",
    [
        ("ada@example.com", True),
        ("a.b+c@sub.example.org", True),
        ("o'neil@example.com", True),
        ("root@localhost", True),
        ("ada@example.com\n", False),
        ("ada example.com", False),
        ("@example.com", False),
        ("ada@", False),
        ("ada@-example.com", False),
        ("ada@example.com-", False),
        ("a@b@c", False),
        ("ada@exämple.com", False),
        ("a" * 250 + "@b.cd", False),
    ],
)
def test_an_email_address_is_what_a_browser_takes_for_one(address: str, is_valid: bool) -> None:
    assert accepts(Email, address) == is_valid


@pytest.mark.parametrize(
    "tags, expected",
    [([], []), (["a"], []), (["a", "A"], []), (["b", "a", "b", "a", "b"], ["b", "a"])],
)
def test_duplicate_tags_are_named_once_in_order(tags: list[str], expected: list[str]) -> None:
    assert duplicate_tags(tags) == expected


def test_entities_differ_in_id_and_share_no_tags() -> None:
    one, other = Entity(), Entity()
    assert one.id < other.id
    one.tags.append("a")
    assert other.tags == []
    assert one.created_at.tzinfo is UTC


NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    "now, expected", [(NOON + 5 * TICK, NOON + 5 * TICK), (NOON, NOON + TICK), (NOON - timedelta(hours=1), NOON + TICK)]
)
def test_a_version_is_later_than_the_last_whatever_the_clock_says(now: datetime, expected: datetime) -> None:
    assert version_after(NOON, now) == expected
