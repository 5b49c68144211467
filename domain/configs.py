"""Configurations of a model: what its author has declared, and whatever else clients send along."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.entity import Entity
from domain.errors import FieldError, InvalidBody, Misconfigured
from domain.query import Resource
from domain.query.resource import QueryLimits
from domain.validation import invalid_fields, problem, rejected

HOISTED = "user_option_values"
"""A member whose own members count as if they stood beside it; of equals those beside it win."""

_EXTRA = "extra"


class BaseConfig(msgspec.Struct, kw_only=True):
    """What every configuration has. Authors derive from it and add fields with defaults and constraints.

    `prediction_periods` is the horizon in periods. What clients send beyond the declared fields is kept in `extra`.
    """

    prediction_periods: int = 3
    additional_continuous_covariates: list[str] = []
    extra: dict[str, Any] = {}


class Config(Entity, kw_only=True):
    """A configuration under a name, which need not be unique."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    data: dict[str, Any]


# Clients look for the configuration that they have just made in the bare list, so nothing is left out there.
CONFIGS = Resource(
    Config,
    "configs",
    searchable={"name"},
    limits=QueryLimits(list_length=None),
    ignores_unknown=True,
)


class ConfigSchema:
    """The author's type of configurations, and how data is checked by it, stored and shown.

    Raises `Misconfigured` for what does not derive from `BaseConfig`.
    """

    def __init__(self, kind: type[BaseConfig]) -> None:
        given: Any = kind
        if not (isinstance(given, type) and issubclass(given, BaseConfig)):
            raise Misconfigured(f"with_config({given!r}): give a Struct that derives from BaseConfig")
        if kind.__struct_config__.tag is not None or kind.__struct_config__.forbid_unknown_fields:
            raise Misconfigured(f"{kind.__name__}: it must have no tag and take unknown members")
        self.kind = kind
        self._members = [member for member in msgspec.structs.fields(kind) if member.name != _EXTRA]
        self._known = {name for member in self._members for name in (member.name, member.encode_name)}

    def stored(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Data as it is kept: under the names that were sent, with equal values, and with defaults for the rest.

        Raises `InvalidBody` with every field that is wrong.
        """
        sent = _hoisted(data)
        typed = self._converted(sent)
        kept: dict[str, Any] = {}
        for member in self._members:
            names = [name for name in dict.fromkeys((member.encode_name, member.name)) if name in sent]
            for name in names:
                kept[name] = sent[name]
            if not names:
                kept[member.encode_name] = msgspec.to_builtins(getattr(typed, member.name), str_keys=True)
        return kept | {name: value for name, value in sent.items() if name not in self._known}

    def aligned(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Stored data and a patch of it with every option where, and under the name under which, the patch has it."""
        sent = _hoisted(patch)
        known = {name: value for name, value in stored.items() if name != HOISTED or name not in patch}
        for member in self._members:
            names = [name for name in (member.encode_name, member.name) if name in sent]
            there = [known.pop(name) for name in (member.encode_name, member.name) if names and name in known]
            known |= dict.fromkeys(names, there[0]) if there else {}
        return known, sent

    def typed(self, data: Mapping[str, Any]) -> BaseConfig:
        """Data as the author's Struct. Raises `InvalidBody`."""
        sent = _hoisted(data)
        typed = self._converted(sent)
        typed.extra = {name: value for name, value in sent.items() if name not in self._known}
        return typed

    def _converted(self, sent: Mapping[str, Any]) -> BaseConfig:
        names = {
            member.encode_name: name
            for member in self._members
            # A field may be sent under either name; the one on the wire counts if it is sent under both.
            for name in (member.name, member.encode_name)
            if name in sent
        }
        given = {known: sent[name] for known, name in names.items()}
        try:
            return msgspec.convert(given, self.kind)
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            if isinstance(error, InvalidBody):
                raise
            found = invalid_fields(given, self.kind) or [problem("value_error", str(error), (), None)]
            raise rejected(_inside(found, names)) from None

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the data."""
        (top,), definitions = msgspec.json.schema_components([self.kind], ref_template="#/$defs/{name}")
        own = dict(definitions.pop(str(top["$ref"]).rsplit("/", 1)[1]))
        own["properties"] = {name: value for name, value in own["properties"].items() if name != _EXTRA}
        required = [name for name in own.pop("required", []) if name != _EXTRA]
        return {
            "additionalProperties": True,
            **own,
            **({"required": required} if required else {}),
            **({"$defs": definitions} if definitions else {}),
        }


def _hoisted(data: Mapping[str, Any]) -> dict[str, Any]:
    options = data.get(HOISTED)
    if not isinstance(options, Mapping):
        return dict(data)
    return {**options, **{name: value for name, value in data.items() if name != HOISTED}}


def _inside(errors: Iterable[FieldError], names: Mapping[Any, str]) -> list[FieldError]:
    """Errors of data as those of the body it stands in, under the names that were sent."""
    return [
        problem(
            error.type,
            error.msg,
            ("data", *(names.get(part, part) for part in error.loc[1:2]), *error.loc[2:]),
            error.input,
            error.allowed,
        )
        for error in errors
    ]
