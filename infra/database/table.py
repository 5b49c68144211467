"""Tables of entities, and the proof that a Table and its Struct say the same."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_type_hints

import msgspec
from piccolo.columns import (
    JSON,
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    Column,
    Date,
    DoublePrecision,
    Integer,
    Numeric,
    SmallInt,
    Text,
    Time,
    Timestamptz,
    Varchar,
)
from piccolo.columns.defaults.base import Default
from piccolo.table import Table

from domain.bodies import member_annotation
from domain.entity import Entity, new_id
from domain.errors import Misconfigured
from domain.query import Field, Kind, Resource
from domain.query.fields import DECIMAL_DIGITS
from domain.validation import declared_meta
from infra.database.current import CURRENT_ENGINE


class NewId(Default):
    """A fresh ULID, made in Python; as a column default it must not be evaluated once and frozen into the DDL."""

    @property
    def postgres(self) -> str:
        return "null"

    @property
    def sqlite(self) -> str:
        return "null"

    def python(self) -> str:
        return new_id()


class Ulid(Column):
    """A ULID as 26 characters that sort in time order on both databases."""

    value_type = str

    def __init__(self, default: Default | None = None, **kwargs: Any) -> None:
        self.default = default
        super().__init__(default=default, **kwargs)

    @property
    def column_type(self) -> str:
        return 'VARCHAR(26) COLLATE "C"' if self._meta.engine_type == "postgres" else "VARCHAR(26)"


EntityT = TypeVar("EntityT", bound=Entity)


class EntityTable(Table, db=CURRENT_ENGINE):
    """Base of every entity's Table: the columns of `Entity`. Declare the entity's own columns in a subclass."""

    id = Ulid(primary_key=True, default=NewId())
    created_at = Timestamptz()
    updated_at = Timestamptz()
    tags = Array(base_column=Varchar(length=100))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**{"db": CURRENT_ENGINE, **kwargs})


_COLUMNS: Mapping[Kind, tuple[type[Column], ...]] = {
    Kind.ID: (Ulid,),
    Kind.TEXT: (Varchar, Text, Ulid),
    Kind.ENUM: (Varchar, Text, Integer, SmallInt, BigInt),
    Kind.INTEGER: (Integer, SmallInt, BigInt),
    # PostgreSQL would round a Real to 32 bits, SQLite would not.
    Kind.NUMBER: (DoublePrecision,),
    Kind.DECIMAL: (Numeric,),
    Kind.BOOLEAN: (Boolean,),
    Kind.DATETIME: (Timestamptz,),
    Kind.DATE: (Date,),
    Kind.TIME: (Time,),
    Kind.UUID: (UUID,),
    Kind.LIST: (Array, JSONB, JSON),
    Kind.JSON: (JSONB, JSON),
}
_MEMBERS: Mapping[Kind, tuple[type[Column], ...]] = {
    Kind.TEXT: (Text, Varchar),
    Kind.ENUM: (Text, Varchar),
    Kind.INTEGER: (BigInt,),
    Kind.NUMBER: (DoublePrecision,),
    Kind.BOOLEAN: (Boolean,),
}
_INTEGER_RANGES: Mapping[type[Column], tuple[int, int]] = {
    SmallInt: (-(2**15), 2**15 - 1),
    BigInt: (-(2**63), 2**63 - 1),
    Integer: (-(2**31), 2**31 - 1),
}


def check_pair(resource: Resource[Any], table: type[Table]) -> None:
    """Raise `Misconfigured`, naming every field, when the Struct and the Table of a resource disagree."""
    struct_name, table_name = resource.entity.__name__, getattr(table, "__name__", repr(table))
    if not _is_entity_table(table):
        raise Misconfigured(f"{table_name} must derive from EntityTable, so that it has id, created_at and the rest")
    columns = columns_of(table)
    faults = [
        f"{struct_name}.{name} has no column: add `{name}` to {table_name}"
        for name in resource.fields
        if name not in columns
    ]
    faults += [
        f"{table_name}.{name} has no field: add `{name}` to {struct_name}"
        for name in columns
        if name not in resource.fields
    ]
    for name, field in resource.fields.items():
        if name in columns:
            faults += _disagreements(f"{struct_name}.{name}", f"{table_name}.{name}", field, columns[name], resource)
    if faults:
        raise Misconfigured("; ".join(faults))


def _is_entity_table(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, EntityTable)


def columns_of(table: type[Table]) -> dict[str, Column]:
    """The columns of a table by field name, in declaration order."""
    return {column._meta.name: column for column in table._meta.columns}


def bounds_of(table: type[Table]) -> dict[str, dict[str, int]]:
    """What the columns of a table can hold: ranges, lengths and digits."""
    bounds: dict[str, dict[str, int]] = {}
    for name, column in columns_of(table).items():
        for kind, (low, high) in _INTEGER_RANGES.items():
            if isinstance(column, kind):
                bounds[name] = {"minimum": low, "maximum": high}
                break
        if isinstance(column, Varchar) and column.length is not None:
            bounds[name] = {"max_length": column.length}
        if isinstance(column, Numeric) and column.digits is not None:
            bounds[name] = {"precision": column.digits[0], "scale": column.digits[1]}
    return bounds


def _disagreements(
    struct_field: str, table_column: str, field: Field, column: Column, resource: Resource[Any]
) -> list[str]:
    wanted = _COLUMNS[field.kind]
    if not isinstance(column, wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        return [f"{struct_field} is {field.kind}, so {table_column} must be {names}, not {type(column).__name__}"]
    faults = []
    if field.nullable != column._meta.null and field.kind is not Kind.JSON:
        allows, other = (
            ("may be None", "add null=True, default=None to")
            if field.nullable
            else ("may not be None", "remove null=True from")
        )
        faults.append(f"{struct_field} {allows}: {other} {table_column}")
    if isinstance(column, Varchar) and column.length is not None:
        longest = _declared_length(resource, field)
        if longest is not None and longest > column.length:
            faults.append(
                f"{struct_field} allows {longest} characters and {table_column} holds {column.length}: make them equal"
            )
        if field.choices and (too_long := [c for c in field.choices if len(str(c)) > column.length]):
            faults.append(f"{struct_field} has the value {too_long[0]!r}, longer than {table_column} holds")
    if isinstance(column, Array):
        faults += _member_disagreements(struct_field, table_column, field, column.base_column, resource)
    if isinstance(column, Numeric):
        digits = column.digits
        if digits is None or digits[0] > DECIMAL_DIGITS:
            faults.append(f"{table_column} must name its digits, at most {DECIMAL_DIGITS}: Numeric(digits=(12, 2))")
    return faults


def _member_disagreements(
    struct_field: str, table_column: str, field: Field, base: Column, resource: Resource[Any]
) -> list[str]:
    wanted = _MEMBERS.get(field.item.kind, ()) if field.item is not None else ()
    if not wanted:
        return [f"the members of {struct_field} cannot be kept in an Array: make {table_column} a JSONB"]
    if not isinstance(base, wanted):
        names = " or ".join(f"{kind.__name__}()" for kind in wanted)
        return [f"the members of {table_column} must be {names} for those of {struct_field}"]
    if isinstance(base, Varchar) and base.length is not None:
        choices = field.item.choices if field.item is not None else None
        longest = (
            max(len(str(choice)) for choice in choices) if choices else _declared_length(resource, field, member=True)
        )
        # Nothing else would keep too long a member out: SQLite does not count.
        if longest is None or longest > base.length:
            fault = (
                f"members of {struct_field} may be longer than the {base.length} characters that {table_column} holds"
            )
            return [f"{fault}: give them a max_length, or use Array(base_column=Text())"]
    return []


def _declared_length(resource: Resource[Any], field: Field, *, member: bool = False) -> int | None:
    annotation = get_type_hints(resource.entity, include_extras=True)[field.name]
    if member:
        annotation = member_annotation(annotation)
    lengths = [meta.max_length for meta in declared_meta(annotation) if meta.max_length is not None]
    return min(lengths) if lengths else None


def trusted(entity: type[EntityT]) -> type[EntityT]:
    """An entity without its constraints. What is stored was checked on its way in; one row that a later rule would
    refuse must not keep a worker from all the others.
    """
    hints = get_type_hints(entity)
    fields: list[Any] = []
    for member in msgspec.structs.fields(entity):
        given = {"default": member.default, "default_factory": member.default_factory}
        given = {name: value for name, value in given.items() if value is not msgspec.NODEFAULT}
        fields.append((member.name, hints[member.name], msgspec.field(**given)))
    made = msgspec.defstruct(entity.__name__, fields, bases=(entity,), kw_only=True, module=entity.__module__)
    return cast("type[EntityT]", made)
