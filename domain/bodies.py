"""The request bodies of a resource, derived from its entity: what a client sends to create, replace or patch one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, Generic, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.entity import Ulid, duplicate_tags, parse_id
from domain.errors import MOST_ERRORS, FieldError, cut
from domain.query.fields import INT64, Field, Kind, WrongValue, digits_of, to_utc
from domain.query.locate import too_deep
from domain.query.resource import EntityT, Resource
from domain.validation import declared_meta, invalid_fields, problem, rejected

# No database needs more, and every step that walks a value does it recursively.
_MOST_LEVELS = 100
_CONSTRAINTS = (
    "gt",
    "ge",
    "lt",
    "le",
    "min_length",
    "max_length",
    "pattern",
    "tz",
    "multiple_of",
    "title",
    "description",
    "examples",
)
_TIGHTER: Mapping[str, Callable[..., Any]] = {"ge": max, "le": min, "max_length": min}


class Bodies(Generic[EntityT]):
    """Decoders and checks for the bodies of one resource.

    `create` and `replace` are Structs that hold every field a client may set, with the entity's constraints plus
    those of its storage (the range of a whole number, the length of a text column); `patch` is the same with every
    field optional. Server-managed fields may be sent back and are ignored; any other unknown field is an error.
    """

    def __init__(self, resource: Resource[EntityT]) -> None:
        self.resource = resource
        self.entity = resource.entity
        hints = get_type_hints(resource.entity, include_extras=True)
        members = {member.name: member for member in msgspec.structs.fields(resource.entity)}
        self.types = {
            name: constrained(hints[name], resource.fields[name]) for name in members if name not in resource.read_only
        }
        self.timestamps = tuple(name for name in self.types if resource.fields[name].kind is Kind.DATETIME)
        self.integer_lists = tuple(
            name
            for name in self.types
            if (item := resource.fields[name].item) is not None and item.kind is Kind.INTEGER
        )
        self.decimals = tuple(name for name in self.types if resource.fields[name].kind is Kind.DECIMAL)
        # What is read-only and hidden is nobody's business, so sending it is an error like any other.
        ignored = [(name, Any, UNSET) for name in sorted(resource.read_only - resource.hidden)]
        self._known = {*self.types, *(name for name, *_ in ignored)}
        settable: list[Any] = []
        for name, kind in self.types.items():
            if name == "id":
                settable.append((name, Ulid | UnsetType, UNSET))
            elif members[name].required:
                settable.append((name, kind))
            else:
                settable.append((name, kind | UnsetType, UNSET))
        title = resource.entity.__name__
        self.create = _struct(f"{title}Create", [*settable, *ignored], resource)
        self.replace = self.create
        self.patch = _struct(
            f"{title}Patch", [(name, kind | UnsetType, UNSET) for name, kind in self.types.items()] + ignored, resource
        )
        self._create_decoder = msgspec.json.Decoder(self.create)

    def decode_create(self, body: bytes) -> Mapping[str, Any]:
        """The fields that a body for POST or PUT sets. Raises `InvalidBody` with every error."""
        check_depth(body)
        try:
            decoded = self._create_decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, ValueError):
            raise self._explain(body, self.create) from None
        values = {name: value for name in self.types if (value := getattr(decoded, name)) is not UNSET}
        return self._checked(values, body)

    def ignored(self, body: bytes) -> list[str]:
        """The members of a body that are known to nobody and were ignored, where they are."""
        if not self.resource.ignores_unknown:
            return []
        return [name for name in decode_object(body) if name not in self._known]

    def decode_patch(self, body: bytes) -> Mapping[str, Any]:
        """The members of an RFC 7396 merge patch, not yet merged. Raises `InvalidBody` for what can never be right."""
        check_depth(body)
        raw = decode_object(body)
        unknown = [] if self.resource.ignores_unknown else [name for name in raw if name not in self._known]
        if unknown:
            raise rejected(
                problem("unknown_field", f'unknown field "{cut(name)}"', (name,), raw[name], tuple(self.types))
                for name in unknown
            )
        return {name: value for name, value in raw.items() if name in self.types and name != "id"}

    def merge(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """The typed new values of the patched fields. Raises `InvalidBody` with every error."""
        merged = {name: merge_patch(stored.get(name), value) for name, value in patch.items()}
        errors: list[FieldError] = []
        values: dict[str, Any] = {}
        for name, value in merged.items():
            try:
                values[name] = msgspec.convert(value, self.types[name], str_keys=True)
            except (msgspec.ValidationError, OverflowError):
                found = invalid_fields({name: value}, self.patch)
                found = found or [problem("value_error", "is not valid", (name,), None)]
                # What was merged holds stored values, which may be hidden: only what was sent is shown.
                sent = cut(patch[name])
                errors.extend(msgspec.structs.replace(error, input=sent) for error in found)
        if errors:
            raise rejected(errors)
        return self._checked(values, msgspec.json.encode(merged))

    def _checked(self, values: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Apply what a type cannot say: upper-case ids, UTC, distinct tags, no NUL."""
        errors: list[FieldError] = []
        # The escape is the only way a NUL can stand in valid JSON, so most bodies are cleared by one scan.
        if b"\\u0000" in body:
            errors.extend(islice(nul_errors(values, ()), MOST_ERRORS))
        if "id" in values:
            values["id"] = parse_id(values["id"])
        for name in self.timestamps:
            value = values.get(name)
            if isinstance(value, datetime):
                try:
                    values[name] = to_utc(value)
                except WrongValue as error:
                    errors.append(problem("value_error", str(error), (name,), str(value)))
        for name in self.decimals:
            if isinstance(value := values.get(name), Decimal):
                try:
                    values[name] = fitting(value, self.resource.fields[name])
                except WrongValue as error:
                    errors.append(problem("value_error", str(error), (name,), str(value)))
        for name in self.integer_lists:
            errors.extend(islice(_beyond_64_bits(name, values.get(name) or ()), MOST_ERRORS))
        errors.extend(islice(_duplicates(values.get("tags", ())), MOST_ERRORS))
        if errors:
            raise rejected(errors)
        return values

    def _explain(self, body: bytes, kind: type[msgspec.Struct]) -> Exception:
        raw = decode_object(body)
        errors = invalid_fields(raw, kind)
        if isinstance(tags := raw.get("tags"), list):
            errors.extend(islice(_duplicates([tag for tag in tags if isinstance(tag, str)]), MOST_ERRORS))
        return rejected(errors or [problem("value_error", "is not valid", (), body[:200].decode(errors="replace"))])

    def construct(self, values: Mapping[str, Any]) -> EntityT:
        """The entity with `values`. Raises `InvalidBody` when its own `__post_init__` refuses them."""
        try:
            entity = self.entity(**values)
        except (ValueError, TypeError) as error:
            raise rejected([problem("value_error", str(error), (), None)]) from error
        for name in self.decimals:
            # A default, too, has the digits of its column from the start, not only once it is read back.
            if isinstance(value := getattr(entity, name), Decimal):
                setattr(entity, name, fitting(value, self.resource.fields[name]))
        return entity


def fitting(value: Decimal, field: Field) -> Decimal:
    """`value` with exactly the digits its column keeps. Raises `WrongValue` rather than rounding."""
    if not value.is_finite():
        raise WrongValue("must be a finite number")
    if field.precision is None or field.scale is None:
        return value
    most = field.precision - field.scale
    whole, fraction = digits_of(value)
    if whole > most or fraction > field.scale:
        raise WrongValue(f"must have at most {most} digits before the point and {field.scale} behind it")
    # Neither database keeps the sign of a zero.
    return (value if value else Decimal(0)).quantize(Decimal(1).scaleb(-field.scale))


def check_depth(body: bytes) -> None:
    # Counting is quick and clears nearly every body.
    if body.count(b"{") + body.count(b"[") > _MOST_LEVELS:
        at = too_deep(body.decode(errors="replace"), _MOST_LEVELS)
        if at is not None:
            message = f"nests more than {_MOST_LEVELS} levels"
            raise rejected([problem("json_invalid", message, (), body[:200].decode(errors="replace"))])


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object from a client. Raises `InvalidBody` for anything else, with the byte where it breaks."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        message = "nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise rejected([problem("json_invalid", message, (), body[:200].decode(errors="replace"))]) from None
    if not isinstance(value, dict):
        raise rejected([problem("type", "the body must be a JSON object", (), value)])
    return value


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` changed by an RFC 7396 merge patch: objects merge, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def constrained(annotation: Any, field: Field) -> Any:
    """`annotation` with what the storage of `field` demands added, where the entity does not say so itself."""
    if field.kind is Kind.DATETIME:
        extra = Meta(tz=True)
    elif field.kind is Kind.TIME:
        extra = Meta(tz=False)
    elif field.kind is Kind.INTEGER:
        extra = Meta(ge=field.minimum, le=field.maximum)
    elif field.kind is Kind.TEXT and field.max_length is not None:
        extra = Meta(max_length=field.max_length)
    else:
        return annotation
    merged: dict[str, Any] = {}
    for meta in (extra, *declared_meta(annotation)):
        for name in _CONSTRAINTS:
            value = getattr(meta, name)
            if value is not None:
                merged[name] = _TIGHTER[name](value, merged[name]) if name in _TIGHTER and name in merged else value
    # An open bound and a closed one exclude each other; the entity's is inside of the storage's.
    if "gt" in merged:
        del merged["ge" if merged["gt"] >= merged["ge"] else "gt"]
    if "lt" in merged:
        del merged["le" if merged["lt"] <= merged["le"] else "lt"]
    kind: Any = Annotated.__class_getitem__((field.value_type, Meta(**merged)))  # type: ignore[attr-defined]
    return kind | None if field.nullable else kind


def member_annotation(annotation: Any) -> Any:
    """The annotation of the members of a list, whatever surrounds the list."""
    if get_origin(annotation) in {list, set, frozenset}:
        return get_args(annotation)[0]
    return next((found for part in get_args(annotation) if (found := member_annotation(part)) is not None), None)


def _struct(name: str, members: list[Any], resource: Resource[Any]) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        name,
        members,
        kw_only=True,
        forbid_unknown_fields=not resource.ignores_unknown,
        module=resource.entity.__module__,
        omit_defaults=True,
    )


def _beyond_64_bits(name: str, numbers: Iterable[int]) -> Iterator[FieldError]:
    low, high = INT64
    for index, number in enumerate(numbers):
        if not low <= number <= high:
            yield problem("value_error", f"must be a whole number from {low} to {high}", (name, index), number)


def _duplicates(tags: Sequence[str]) -> Iterator[FieldError]:
    for tag in duplicate_tags(tags):
        yield problem("duplicate", f'tag "{cut(tag)}" stands more than once', ("tags",), tag)


def nul_errors(value: Any, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    if isinstance(value, str):
        if "\0" in value:
            yield problem("value_error", "holds a NUL character, which cannot be stored", path, value)
        return
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from nul_errors(name, (*path, name))
            yield from nul_errors(member, (*path, name))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, member in enumerate(value):
            yield from nul_errors(member, (*path, index))
