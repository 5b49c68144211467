"""Reads gates such as `wis <= 0.95 * champion.wis and coverage_80 > 0.7`; the language has no more than that."""

import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from domain.errors import FieldError, InvalidBody
from domain.validation import problem, rejected

MOST_CHARACTERS = 500
MOST_LEVELS = 20
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
WORDS = ("and", "or", "not")
ALLOWED = (
    "metrics of the version (wis)",
    "metrics of what an alias points to (champion.wis)",
    "numbers",
    "+ - * /",
    " ".join(COMPARISONS),
    " ".join(WORDS),
    "( )",
)
"""What a gate is made of, in words."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)"
    r"|(?P<sign><=|>=|==|!=|[-+*/<>()]))",
    re.ASCII,
)


class Number(msgspec.Struct, frozen=True):
    """A number that stands in the gate."""

    value: float
    at: int


class Metric(msgspec.Struct, frozen=True):
    """A metric of the version itself (`alias` None), or of what an alias points to."""

    name: str
    alias: str | None
    at: int

    @property
    def text(self) -> str:
        """How it is written."""
        return self.name if self.alias is None else f"{self.alias}.{self.name}"


class Arithmetic(msgspec.Struct, frozen=True):
    """Two numbers joined by a sign."""

    sign: str
    left: "Value"
    right: "Value"
    at: int


class Comparison(msgspec.Struct, frozen=True):
    """Two numbers compared; `start` and `end` are where it stands in the text."""

    sign: str
    left: "Value"
    right: "Value"
    start: int
    end: int


class Joined(msgspec.Struct, frozen=True):
    """Conditions of which all (`and`), or one (`or`), must hold."""

    word: str
    parts: tuple["Condition", ...]


class Not(msgspec.Struct, frozen=True):
    """A condition that must not hold."""

    part: "Condition"


Value = Number | Metric | Arithmetic
Condition = Comparison | Joined | Not
Node = Value | Condition


class Gate(msgspec.Struct, frozen=True):
    """A condition, and the text it was read from."""

    text: str
    condition: Condition


class Token(NamedTuple):
    """A piece of the text; `kind` is `number`, `name`, `sign`, or `end`."""

    kind: str
    text: str
    at: int


def parse_gate(text: str) -> Gate:
    """The gate that a text says. Raises `InvalidBody` with the position of what is wrong."""
    if len(text) > MOST_CHARACTERS:
        raise wrong(f"a gate has at most {MOST_CHARACTERS} characters, not {len(text)}", MOST_CHARACTERS, text)
    return Gate(text, _Parser(text).whole())


def wrong(message: str, at: int, text: str, allowed: tuple[str, ...] = ALLOWED) -> InvalidBody:
    """The error for a gate in which something is wrong at a position."""
    where = f"{message} (character {at})"
    found: FieldError = problem("invalid_gate", where, ("gate",), text, allowed)
    return rejected([msgspec.structs.replace(found, position=at)])


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise wrong(f'"{text[at]}" has no meaning in a gate', at, text)
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
        at = match.end()
    yield Token("end", "", len(text))


class _Parser:
    """Recursive descent; `or` binds weakest, then `and`, `not`, comparisons, `+ -`, `* /`, and a sign in front."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0
        self._level = 0

    def whole(self) -> Condition:
        found = self._joined("or")
        token = self._peek()
        if token.kind != "end":
            hint = "; compare two things at a time and join with `and`" if token.text in COMPARISONS else ""
            raise self._error(f'"{token.text}" is not expected here{hint}', token)
        return self._condition(found, 0, "a gate")

    def _joined(self, word: str) -> Node:
        operand = self._negation if word == "and" else partial(self._joined, "and")
        start = self._peek().at
        first = operand()
        if self._peek().text != word:
            return first
        parts = [self._condition(first, start, f"`{word}`")]
        while self._take(word):
            at = self._peek().at
            parts.append(self._condition(operand(), at, f"`{word}`"))
        return Joined(word, tuple(parts))

    def _negation(self) -> Node:
        if self._take("not"):
            before = self._deeper()
            at = self._peek().at
            found = Not(self._condition(self._negation(), at, "`not`"))
            self._level = before
            return found
        return self._comparison()

    def _comparison(self) -> Node:
        start = self._peek().at
        left = self._sum(("+", "-"))
        sign = self._peek()
        if sign.text not in COMPARISONS:
            return left
        self._next += 1
        at = self._peek().at
        right = self._sum(("+", "-"))
        end = self._tokens[self._next - 1]
        return Comparison(sign.text, self._value(left, start), self._value(right, at), start, end.at + len(end.text))

    def _sum(self, signs: tuple[str, ...]) -> Node:
        is_sum = "+" in signs
        start = self._peek().at
        found = self._sum(("*", "/")) if is_sum else self._signed()
        while (sign := self._peek()).text in signs:
            self._next += 1
            at = self._peek().at
            right = self._sum(("*", "/")) if is_sum else self._signed()
            found = Arithmetic(sign.text, self._value(found, start), self._value(right, at), sign.at)
        return found

    def _signed(self) -> Node:
        sign = self._peek()
        if sign.text not in {"-", "+"}:
            return self._atom()
        self._next += 1
        before = self._deeper()
        value = self._value(self._signed(), sign.at)
        self._level = before
        return value if sign.text == "+" else Arithmetic("-", Number(0.0, sign.at), value, sign.at)

    def _atom(self) -> Node:
        token = self._peek()
        self._next += token.kind != "end"
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                raise self._error(f"{token.text} is too large a number", token)
            return Number(value, token.at)
        if token.kind == "name" and token.text not in WORDS:
            alias, _, name = token.text.rpartition(".")
            return Metric(name, alias or None, token.at)
        if token.text == "(":
            before = self._deeper()
            found = self._joined("or")
            self._level = before
            if self._peek().text != ")":
                raise self._error("a bracket is not closed", token)
            self._next += 1
            return found
        what = "the gate ends" if token.kind == "end" else f'"{token.text}" stands'
        raise self._error(f"{what} where a metric or a number is expected", token)

    # Steps

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self, word: str) -> bool:
        is_there = self._peek().kind == "name" and self._peek().text == word
        self._next += is_there
        return is_there

    def _deeper(self) -> int:
        """Go one level deeper; returns the level before."""
        before = self._level
        self._level += 1
        if self._level > MOST_LEVELS:
            raise self._error(f"a gate nests at most {MOST_LEVELS} levels", self._peek())
        return before

    def _condition(self, node: Node, at: int, where: str) -> Condition:
        if isinstance(node, Number | Metric | Arithmetic):
            raise wrong(f"{where} needs a comparison, such as wis < 0.5, and this is a number", at, self._text)
        return node

    def _value(self, node: Node, at: int) -> Value:
        if isinstance(node, Comparison | Joined | Not):
            raise wrong("a number is expected, and this is a comparison", at, self._text)
        return node

    def _error(self, message: str, token: Token) -> Any:
        return wrong(message, token.at, self._text)
