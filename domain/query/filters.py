"""Reads filters: a JSON object or `field[operator]=value` parameters become one checked tree."""

import json
from typing import Any, NoReturn

from domain.errors import MOST_ERRORS, FieldError, cut, field_error
from domain.query.fields import Field, Kind, Operator, WrongValue
from domain.query.locate import position, too_deep
from domain.query.options import AllOf, AnyOf, Comparison, FilterSpec, Negation
from domain.query.resource import Resource, suggestion

LOGIC = ("and", "or", "not")
_MAX_BRACKETS = 64
# SQLite takes 32,766 arguments for one statement, whatever else that needs.
_MAX_VALUES = 30_000
_LISTS = (Operator.IN, Operator.NIN)


class Problems:
    """The errors found so far in one query, each with the place it was found in."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def add(
        self,
        kind: str,
        message: str,
        loc: tuple[str | int, ...],
        *,
        value: Any = None,
        allowed: tuple[Any, ...] | None = None,
        at: int | None = None,
    ) -> None:
        """Note one error; `loc` starts with `query` or `body`."""
        if not self.is_full:
            self.errors.append(field_error(kind, message, loc, value=value, allowed=allowed, position=at))

    @property
    def is_full(self) -> bool:
        """Whether there are as many errors as one reply lists; looking for more would only take time."""
        return len(self.errors) >= MOST_ERRORS


class FilterReader:
    """Turns one filter source into a `FilterSpec`, noting every error instead of stopping at the first.

    `origin` is where the filter stands (`("query", "filter")` or `("body", "filter")`), `source` its JSON text when
    there is one, so that errors can name a character position.
    """

    def __init__(
        self,
        resource: Resource[Any],
        problems: Problems,
        *,
        origin: tuple[str, ...],
        source: str | None = None,
        max_choices: int | None = None,
    ) -> None:
        self.resource = resource
        self.problems = problems
        self.origin = origin
        self.source = source
        self.max_choices = max_choices or resource.limits.choices
        self.nodes = 0
        self.values = 0

    def read(self, value: Any) -> FilterSpec | None:
        """The tree for a decoded filter; None when it is empty or wrong."""
        spec = self._object(value, (), depth=1)
        if self.nodes > self.resource.limits.nodes:
            self._note("too_many_nodes", f"has more than {self.resource.limits.nodes} comparisons", ())
            return None
        if self.values > _MAX_VALUES:
            self._note("too_many_values", f"lists {self.values} values; at most {_MAX_VALUES} in all", ())
            return None
        return spec

    def compare(self, name: str, operator: str, text: str) -> FilterSpec | None:
        """The comparison for a parameter spelled `name[operator]=text`; `name` is filterable."""
        field = self.resource.fields[name]
        chosen = self._operator(field, operator, ())
        if chosen is None:
            return None
        value: Any = text
        if chosen in {*_LISTS, Operator.BETWEEN}:
            value = text.split(",")
        return self._comparison(field, chosen, value, (), text=True)

    def _note(
        self,
        kind: str,
        message: str,
        path: tuple[str | int, ...],
        *,
        value: Any = None,
        allowed: tuple[Any, ...] | None = None,
    ) -> None:
        at = position(self.source, path) if self.source is not None and not self.problems.is_full else None
        self.problems.add(kind, message, (*self.origin, *path), value=value, allowed=allowed, at=at)

    def _object(self, value: Any, path: tuple[str | int, ...], *, depth: int) -> FilterSpec | None:
        if not isinstance(value, dict):
            self._note("filter_object", "must be a JSON object of fields and conditions", path, value=value)
            return None
        if depth > self.resource.limits.depth:
            self._note("too_deep", f"nests more than {self.resource.limits.depth} levels of and, or, not", path)
            return None
        if not value and depth > 1:
            # An empty part compares nothing and still becomes SQL.
            self.nodes += 1
        parts: list[FilterSpec] = []
        for name, condition in value.items():
            if self._is_over:
                break
            here = (*path, name)
            part = (
                self._logic(name, condition, here, depth=depth)
                if name in LOGIC
                else self._conditions(name, condition, here)
            )
            if part is not None:
                parts.append(part)
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    @property
    def _is_over(self) -> bool:
        """Whether the filter is refused already, whatever else it holds."""
        return self.nodes > self.resource.limits.nodes or self.problems.is_full

    def _logic(self, name: str, value: Any, path: tuple[str | int, ...], *, depth: int) -> FilterSpec | None:
        if name == "not":
            part = self._object(value, path, depth=depth + 1)
            return None if part is None else Negation(part)
        if not isinstance(value, list) or not value:
            self._note("filter_list", f'"{name}" takes a non-empty list of filter objects', path, value=value)
            return None
        read = [
            None if self._is_over else self._object(item, (*path, index), depth=depth + 1)
            for index, item in enumerate(value)
        ]
        parts = tuple(part for part in read if part is not None)
        return AllOf(parts) if name == "and" else AnyOf(parts)

    def _conditions(self, name: str, value: Any, path: tuple[str | int, ...]) -> FilterSpec | None:
        field = self._field(name, path)
        if field is None:
            return None
        if not isinstance(value, dict):
            if isinstance(value, list):
                self._note(
                    "bare_list", f'takes one value; for several write {{"{name}": {{"in": [...]}}}}', path, value=value
                )
                return None
            return self._by_name(field, "eq" if field.kind is not Kind.LIST else "has", value, path)
        if not value:
            self._note("no_operator", "names no operator", path, allowed=tuple(field.operators))
            return None
        read = [self._by_name(field, operator, operand, (*path, operator)) for operator, operand in value.items()]
        parts = tuple(part for part in read if part is not None)
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def _by_name(self, field: Field, name: str, value: Any, path: tuple[str | int, ...]) -> FilterSpec | None:
        operator = self._operator(field, name, path)
        return None if operator is None else self._comparison(field, operator, value, path, text=False)

    def _field(self, name: str, path: tuple[str | int, ...]) -> Field | None:
        if name in self.resource.filterable:
            return self.resource.fields[name]
        allowed = self.resource.filterable
        # A hidden or non-filterable field answers like an unknown one: its name is nobody's business.
        self._note(
            "unknown_field",
            f'"{name}" cannot be filtered{suggestion(name, allowed)}',
            path,
            value=name,
            allowed=allowed,
        )
        return None

    def _operator(self, field: Field, name: str, path: tuple[str | int, ...]) -> Operator | None:
        allowed = field.operators
        if name in allowed:
            return Operator(name)
        self._note(
            "unknown_operator",
            f'"{field.name}" ({field.kind}) has no operator "{name}"{suggestion(name, allowed)}',
            path,
            value=name,
            allowed=tuple(allowed),
        )
        return None

    def _comparison(
        self, field: Field, operator: Operator, value: Any, path: tuple[str | int, ...], *, text: bool
    ) -> FilterSpec | None:
        self.nodes += 1
        try:
            if operator is Operator.NULL:
                return Comparison(field.name, operator, _boolean(value, text=text))
            if value is None:
                return self._null(field, operator)
            if operator in _LISTS:
                return Comparison(field.name, operator, self._values(field, value, text=text))
            if operator is Operator.BETWEEN:
                return Comparison(field.name, operator, self._bounds(field, value, text=text))
            # A list of members that have no kind has no "has" either.
            target = field.item or field
            return Comparison(field.name, operator, self._value(target, value, text=text))
        except WrongValue as error:
            self._note("wrong_value", f'"{field.name}" {error}', path, value=value, allowed=error.allowed)
            return None

    def _null(self, field: Field, operator: Operator) -> FilterSpec:
        if operator not in {Operator.EQ, Operator.NE}:
            raise WrongValue(f'cannot be compared with null by "{operator}"; use {{"null": true}}')
        return Comparison(field.name, Operator.NULL, operator is Operator.EQ)

    def _value(self, field: Field, value: Any, *, text: bool) -> Any:
        return field.coerce(value, text=text, longest=self.resource.limits.text_length)

    def _values(self, field: Field, value: Any, *, text: bool) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise WrongValue("takes a non-empty list of values")
        if len(value) > self.max_choices:
            raise WrongValue(f"has {len(value)} values; at most {self.max_choices}")
        self.values += len(value)
        return tuple(self._value(field, item, text=text) for item in value)

    def _bounds(self, field: Field, value: Any, *, text: bool) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise WrongValue('"between" takes two values: the lowest and the highest')
        low, high = (self._value(field, item, text=text) for item in value)
        return low, high


def _boolean(value: Any, *, text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if text and value in {"true", "false"}:
        return bool(value == "true")
    raise WrongValue('"null" takes true or false', ("true", "false") if text else (True, False))


class BadJson(ValueError):
    """A text is not the JSON we accept; `at` is the 0-based character where that shows."""

    def __init__(self, message: str, at: int | None) -> None:
        super().__init__(message)
        self.at = at


def decode_json(text: str) -> Any:
    """The value of a JSON text from a client. Raises `BadJson` for malformed, too deep or ambiguous input."""
    at = too_deep(text, _MAX_BRACKETS)
    if at is not None:
        raise BadJson(f"nests more than {_MAX_BRACKETS} levels", at)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise BadJson(f"is not valid JSON: {error.msg}", error.pos) from error
    except BadJson:
        raise
    except ValueError as error:
        raise BadJson("holds a number with too many digits", None) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise BadJson(f'names "{cut(twice)}" twice in one object', None)
    return members


def _refuse(constant: str) -> NoReturn:
    raise BadJson(f"{constant} is not JSON", None)
