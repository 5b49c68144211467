"""Gates: what they mean, what they refuse and where, and that nothing a client writes is ever more than a condition."""

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import InvalidBody
from domain.gates import GateNotMet, Sides, decide, names_of, parse_gate
from domain.gates.parse import MOST_CHARACTERS, MOST_LEVELS

OWN = {"wis": 0.5, "coverage_80": 0.8, "n": 3.0, "zero": 0.0, "nothing": 0.0}
SIDES = Sides(OWN, {"champion": {"wis": 0.6, "zero": 0.0}, "challenger": None})


def is_met(text: str, sides: Sides = SIDES) -> bool:
    return decide(parse_gate(text), sides).is_met


@pytest.mark.parametrize(
    "text, expected",
    [
        ("wis <= 0.95 * champion.wis", True),
        ("wis <= 0.5 * champion.wis", False),
        ("wis <= 0.95 * champion.wis and coverage_80 > 0.7", True),
        ("wis > 1 or coverage_80 > 0.7", True),
        ("wis > 1 or coverage_80 > 0.7 and n < 1", False),
        ("(wis > 1 or coverage_80 > 0.7) and n == 3", True),
        ("not wis > 1", True),
        ("not (wis > 1 or n == 3)", False),
        ("not not wis < 1", True),
        ("2 + 3 * n == 11", True),
        ("(2 + 3) * n == 15", True),
        ("10 - 4 - 3 == n", True),
        ("12 / 2 / 2 == n", True),
        ("-wis < 0 and +wis > 0", True),
        ("- -n == 3", True),
        ("wis != 0.5", False),
        ("(((wis))) < 1", True),
        ("1e-1 < .5", True),
        ("champion.wis-wis>0", True),
        ("\n wis\t<\n1 ", True),
    ],
)
def test_a_gate_is_arithmetic_comparisons_and_logic(text: str, expected: bool) -> None:
    assert is_met(text) is expected


@pytest.mark.parametrize(
    "text, at, words",
    [
        ("", 0, "the gate ends where a metric or a number is expected"),
        ("wis", 0, "a gate needs a comparison"),
        ("wis <", 5, "the gate ends"),
        ("wis < 1 and", 11, "the gate ends"),
        ("wis and n > 1", 0, "`and` needs a comparison"),
        ("n > 1 or wis", 9, "`or` needs a comparison"),
        ("not wis", 4, "`not` needs a comparison"),
        ("1 < wis < 2", 8, "compare two things at a time"),
        ("(wis < 1", 0, "a bracket is not closed"),
        ("wis < 1)", 7, '")" is not expected here'),
        ("(wis < 1) + 1 > 0", 0, "a number is expected, and this is a comparison"),
        ("wis < (n > 1)", 6, "a number is expected"),
        ("wis ** 2 < 1", 5, '"*" stands where'),
        ("wis < 1e999", 6, "too large a number"),
        ("wis is n", 4, '"is" is not expected here'),
        ("wis = 1", 4, '"=" has no meaning'),
        ("wis < 1; n < 1", 7, '";" has no meaning'),
        ("a.b.c < 1", 3, '"." has no meaning'),
        ("open(1) < 1", 4, '"(" is not expected here'),
        ("wis[0] < 1", 3, '"[" has no meaning'),
        ("lambda: 1 < 2", 6, '":" has no meaning'),
        ("wıs < 1", 1, '"ı" has no meaning'),
        ("wis < 'a'", 6, "has no meaning"),
        ("-(wis < 1)", 0, "a number is expected"),
        ("x" * (MOST_CHARACTERS + 1), MOST_CHARACTERS, f"at most {MOST_CHARACTERS} characters"),
        ("(" * (MOST_LEVELS + 1) + "1", MOST_LEVELS + 1, f"at most {MOST_LEVELS} levels"),
        ("-" * 100 + "1 < 2", MOST_LEVELS + 1, f"at most {MOST_LEVELS} levels"),
        ("not " * 100 + "1 < 2", 4 * MOST_LEVELS + 4, f"at most {MOST_LEVELS} levels"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, at: int, words: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        parse_gate(text)
    [error] = caught.value.errors
    assert (error.loc, error.position) == (("body", "gate"), at)
    assert words in error.msg
    assert f"(character {at})" in error.msg
    assert "metrics of the version (wis)" in (error.allowed or ())


@pytest.mark.parametrize(
    "text, words",
    [
        ("wsi < 1", 'the version has no metric "wsi"; did you mean "wis"?; it has coverage_80, n, nothing, wis, zero'),
        ("wis < champion.crps", 'what champion points to has no metric "crps"; it has wis, zero'),
        ("wis / zero < 1", "divides by zero (character 4 of"),
        ("1e308 * 1e308 > 1", "no finite number (character 6 of"),
        ("1e308 * 10 - 1e308 * 10 < 1", "no finite number"),
    ],
)
def test_what_cannot_be_decided_is_not_met_and_says_why(text: str, words: str) -> None:
    with pytest.raises(GateNotMet) as caught:
        is_met(text)
    assert words in caught.value.detail


def test_an_alias_that_never_was_is_a_typing_error() -> None:
    with pytest.raises(InvalidBody) as caught:
        is_met("wis < chmpion.wis")
    assert 'there is no alias "chmpion"; did you mean "champion"?; there is challenger, champion' in caught.value.detail
    assert caught.value.errors[0].position == 6


def test_all_that_is_compared_is_told() -> None:
    found = decide(parse_gate("wis < 0.4 and coverage_80 > 0.9 and n > challenger.n"), SIDES)
    assert not found.is_met
    assert [(item.comparison, item.left, item.right, item.is_met) for item in found.compared] == [
        ("wis < 0.4", 0.5, 0.4, False),
        ("coverage_80 > 0.9", 0.8, 0.9, False),
        ("n > challenger.n", None, None, True),
    ]
    assert found.words == "wis < 0.4: 0.5 against 0.4; coverage_80 > 0.9: 0.8 against 0.9"


comparisons = st.sampled_from(
    ["wis < champion.wis", "champion.n >= n", "0.9 * champion.a != wis", "2 > n / champion.n"]
)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=8,
).filter(lambda text: len(text) <= MOST_CHARACTERS and text.count("(") <= MOST_LEVELS // 2)


@given(conditions)
def test_without_a_champion_whatever_compares_with_it_passes(text: str) -> None:
    gate = parse_gate(text)
    assert names_of(gate) == {"champion"}
    assert decide(gate, Sides(OWN, {"champion": None})).is_met


numbers = st.sampled_from(["wis", "n", "zero", "champion.wis", "1", "0.5", "7"])
values = st.recursive(
    numbers,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner) | st.builds("(-{})".format, inner)
    ),
    max_leaves=6,
)
logic = st.recursive(
    st.builds("({} {} {})".format, values, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), values),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=5,
).filter(lambda text: len(text) <= MOST_CHARACTERS)


class Metrics:
    """Metrics as Python sees them."""

    wis, zero = 0.6, 0.0


@given(logic)
def test_a_gate_means_what_python_means(text: str) -> None:
    try:
        found = is_met(text)
    except InvalidBody as error:
        assume("levels" not in error.detail)
        raise
    assert found is eval(text, {"__builtins__": {}}, {**OWN, "champion": Metrics})


PIECES = [
    "wis",
    "champion",
    ".",
    "(",
    ")",
    "and",
    "or",
    "not",
    "<",
    "<=",
    "==",
    "*",
    "**",
    "-",
    "/",
    "1",
    "1e9",
    "9" * 50,
]
PIECES += [
    " ",
    "__class__",
    "__import__",
    "'",
    '"',
    "[",
    "]",
    ",",
    "lambda",
    ":",
    "=",
    "\\",
    "\n",
    "\0",
    "import os",
    "é",
    "𝟏",
]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    # Any other error fails the test.
    with suppress(InvalidBody, GateNotMet):
        assert is_met(text) in {True, False}
