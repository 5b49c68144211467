"""MLproject directories: what they say about a model, and how its commands are called here."""

import keyword
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from domain.configs import BaseConfig
from domain.errors import Misconfigured
from domain.query.resource import suggestion
from domain.registration import AssessedStatus, MLServiceInfo, ModelMetadata, PeriodType

FILES: Mapping[str, str] = {
    "train_data": "data.csv",
    "historic_data": "historic.csv",
    "future_data": "future.csv",
    "out_file": "predictions.csv",
    "model": "model",
    "model_config": "config.yml",
    "polygons": "geo.json",
}
"""Which file stands for a parameter of an entry point."""

KINDS: Mapping[str, type] = {
    **dict.fromkeys(("integer", "int"), int),
    **dict.fromkeys(("number", "float"), float),
    **dict.fromkeys(("string", "str", "path"), str),
    **dict.fromkeys(("boolean", "bool"), bool),
}
"""What the types of user options are."""

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """Something that users may choose; without a default they must."""

    name: str
    kind: type
    default: Any = msgspec.NODEFAULT
    description: str | None = None


class MLProject(msgspec.Struct, frozen=True, kw_only=True):
    """What an MLproject file says."""

    train_command: str
    predict_command: str
    options: tuple[Option, ...]
    info: MLServiceInfo
    adapters: dict[str, str]
    config_format: str


def parse_project(given: Any, files: Mapping[str, str]) -> MLProject:
    """What a decoded MLproject file says; `files` stand for parameters that are not known. Raises `Misconfigured`."""
    if not isinstance(given, Mapping):
        raise Misconfigured("MLproject: it holds no mapping")
    known = {**FILES, **files}
    commands = {kind: _command(given, kind, known) for kind in ("train", "predict")}
    meta = _mapping(given, "meta_data")
    return MLProject(
        train_command=commands["train"],
        predict_command=commands["predict"],
        options=tuple(_option(name, option) for name, option in _mapping(given, "user_options").items()),
        info=_info(given, meta),
        adapters={str(name): str(source) for name, source in _mapping(given, "adapters").items()},
        config_format=str(meta.get("config_format", "chap_core")),
    )


def config_type(project: MLProject, module: str) -> type[BaseConfig]:
    """The type of the project's configurations, as one of a module that has it under the name `Options`."""
    fields: list[Any] = []
    for option in project.options:
        alias = msgspec.field(default=option.default, name=option.name)
        fields.append((_identifier(option.name), option.kind, alias))
    made: Any = msgspec.defstruct("Options", fields, bases=(BaseConfig,), kw_only=True, module=module)
    kind: type[BaseConfig] = made
    return kind


def _identifier(name: str) -> str:
    made = re.sub(r"\W", "_", name)
    return f"{made}_" if keyword.iskeyword(made) else f"_{made}" if made[:1].isdigit() or not made else made


def _command(given: Mapping[str, Any], kind: str, known: Mapping[str, str]) -> str:
    command = _mapping(_mapping(given, "entry_points"), kind).get("command")
    if not isinstance(command, str) or not command.strip():
        raise Misconfigured(f"MLproject: entry_points.{kind}.command is missing")

    def file(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise Misconfigured(
                f'MLproject: entry_points.{kind}.command names "{found[1]}", which stands for no file'
                f"{suggestion(found[1], known)}; say which by --param {found[1]}=FILE"
            )
        return known[found[1]]

    # What is left of braces is the command's own.
    return _PLACE.sub(file, command).replace("{", "{{").replace("}", "}}")


def _option(name: str, given: Any) -> Option:
    if not isinstance(given, Mapping):
        raise Misconfigured(f"MLproject: user_options.{name} must say at least its type")
    kind = str(given.get("type", "string"))
    if kind not in KINDS:
        raise Misconfigured(f"MLproject: user_options.{name}.type is {kind!r}; use one of {', '.join(KINDS)}")
    default = given.get("default", msgspec.NODEFAULT)
    if default is not msgspec.NODEFAULT:
        try:
            default = msgspec.convert(default, KINDS[kind], strict=False)
        except msgspec.ValidationError as error:
            raise Misconfigured(f"MLproject: user_options.{name}.default: {error}") from None
    return Option(name=str(name), kind=KINDS[kind], default=default, description=given.get("description"))


def _info(given: Mapping[str, Any], meta: Mapping[str, Any]) -> MLServiceInfo:
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Misconfigured("MLproject: name is missing")
    metadata = {member.name: meta.get(member.name) for member in msgspec.structs.fields(ModelMetadata)}
    period = str(given.get("supported_period_type", PeriodType.ANY))
    least, most = given.get("min_prediction_periods", 0), given.get("max_prediction_periods", 100)
    return MLServiceInfo(
        id=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model",
        display_name=str(meta.get("display_name") or name),
        version=str(given.get("version", "1.0.0")),
        description=meta.get("description"),
        model_metadata=ModelMetadata(
            **{**metadata, "author_assessed_status": metadata["author_assessed_status"] or AssessedStatus.GRAY}
        ),
        period_type=PeriodType(period) if period in {*PeriodType} else PeriodType.ANY,
        min_prediction_periods=int(least),
        max_prediction_periods=int(most),
        allow_free_additional_continuous_covariates=bool(
            given.get("allow_free_additional_continuous_covariates", False)
        ),
        required_covariates=[str(column) for column in given.get("required_covariates") or []],
        requires_geo=bool(given.get("requires_geo", False)),
        target=str(given.get("target", "disease_cases")),
        hpo_search_space=given.get("hpo_search_space"),
    )


def _mapping(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name) or {}
    if not isinstance(found, Mapping):
        raise Misconfigured(f"MLproject: {name} must be a mapping")
    return found
