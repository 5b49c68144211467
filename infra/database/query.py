"""Compiles queries to SQL for either dialect: names come from the Table, values become arguments."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, assert_never

from piccolo.columns import JSON, JSONB
from piccolo.table import Table

from domain.query import (
    AllOf,
    AnyOf,
    Comparison,
    Count,
    FilterSpec,
    Keyset,
    Negation,
    Operator,
    QueryOptions,
    Resource,
    Sort,
)
from infra.database.dialects import Dialect
from infra.database.sqlite_dialect import fold_case
from infra.database.table import columns_of

_COMPARE = {
    Operator.EQ: "=",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}
TRUE, FALSE = "1 = 1", "1 = 0"


class Arguments:
    """Collects the values of one statement and hands out their placeholders."""

    def __init__(self, dialect: Dialect) -> None:
        self.values: list[Any] = []
        self._placeholder = dialect.placeholder

    def bind(self, value: Any) -> str:
        """Add an argument that is already in the driver's form."""
        self.values.append(value)
        return self._placeholder(len(self.values))


class Compiler:
    """Makes the statements of one resource over its Table."""

    def __init__(self, resource: Resource[Any], table: type[Table], dialect: Dialect) -> None:
        self.resource = resource
        self.dialect = dialect
        self.table = table._meta.get_formatted_tablename()
        columns = columns_of(table)
        self.columns = {name: f'"{columns[name]._meta.db_column_name}"' for name in resource.fields}
        self.json_columns = {name for name, column in columns.items() if isinstance(column, JSON | JSONB)}

    # Pieces

    def stored(self, name: str, value: Any) -> Any:
        """The value of a field as the driver takes it."""
        return self.dialect.stored(self.resource.fields[name], value, is_json=name in self.json_columns)

    def row_of(self, names: Sequence[str]) -> Callable[[Any], list[Any]]:
        """What makes the values of these fields of an entity, as the driver takes them; there are two or more."""
        fields, dialect = self.resource.fields, self.dialect
        values_of = attrgetter(*names)
        made = [
            (index, fields[name], name in self.json_columns)
            for index, name in enumerate(names)
            if name in self.json_columns or not dialect.is_plain(fields[name])
        ]

        def row(entity: Any) -> list[Any]:
            values = list(values_of(entity))
            for index, field, is_json in made:
                values[index] = dialect.stored(field, values[index], is_json=is_json)
            return values

        return row

    def row_json(self, names: Sequence[str]) -> str:
        """The named fields of a row as one JSON object."""
        fields = self.resource.fields
        return self.dialect.row_json([(name, self.columns[name], fields[name]) for name in names])

    def where(self, query: QueryOptions, arguments: Arguments) -> str:
        """` WHERE …` for the filter and the search of a query, or nothing."""
        parts = [] if query.filter is None else [self._spec(query.filter, arguments)]
        parts += [self._term(term, arguments) for term in query.search]
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def order(self, sort: Sequence[Sort]) -> str:
        """` ORDER BY …` with nulls last in both directions."""
        keys = []
        for key in sort:
            field = self.resource.fields[key.field]
            direction = " DESC" if key.is_descending else ""
            nulls = " NULLS LAST" if field.nullable else ""
            keys.append(f"{self.dialect.ordered(self._qualified(key.field), field)}{direction}{nulls}")
        return f" ORDER BY {', '.join(keys)}"

    def _qualified(self, name: str) -> str:
        """The column where its bare name could also mean something that the statement itself selects."""
        return f"{self.table}.{self.columns[name]}"

    # Statements

    def one(self, names: Sequence[str], *, lock: bool = False) -> str:
        """The JSON and the version of the row with the id that is the first argument."""
        version = self.dialect.key(self.columns["updated_at"], self.resource.fields["updated_at"])
        return (
            f"SELECT {self.row_json(names)}, {version} FROM {self.table} "
            f"WHERE {self.columns['id']} = {self.dialect.placeholder(1)}{self.dialect.row_lock if lock else ''}"
        )

    def many(self, query: QueryOptions, limit: int | None, offset: int = 0) -> tuple[str, list[Any]]:
        """All rows of a query as one JSON array, how many it holds, and the total when the query counts."""
        arguments = Arguments(self.dialect)
        where = self.where(query, arguments)
        order = self.order(query.sort)
        rows = f"{self.table}{where}{order}"
        if limit is not None:
            rows += f" LIMIT {arguments.bind(limit)}"
        if offset:
            rows += f" OFFSET {arguments.bind(offset)}"
            if "." not in self.table:
                # PostgreSQL makes what is selected also of the rows it skips: they are skipped before there is JSON. A
                # table of a schema is left as it is, for nothing else can have its name.
                rows = f"(SELECT * FROM {rows}) {self.table}{order}"
        inner = f"SELECT {self.row_json(query.fields or self.resource.readable)} AS j FROM {rows}"
        sql = self.dialect.list_json(inner)
        if query.count is not Count.NONE:
            head, tail = sql.split(" FROM ", 1)
            sql = f"{head}, ({self._count(query, where, arguments)}) FROM {tail}"
        return sql, arguments.values

    def keyset(self, query: QueryOptions, window: Keyset) -> tuple[str, list[Any]]:
        """The JSON and the sort values of up to `limit` + 1 rows behind the cursor."""
        arguments = Arguments(self.dialect)
        where = self.where(query, arguments)
        if window.after is not None:
            behind = self._behind(query.sort, window.after, arguments)
            where = f"{where} AND {behind}" if where else f" WHERE {behind}"
        sql = (
            f"SELECT {self.row_json(query.fields or self.resource.readable)}, {self._keys(query.sort)} "
            f"FROM {self.table}{where}{self.order(query.sort)} LIMIT {arguments.bind(window.limit + 1)}"
        )
        return sql, arguments.values

    def keys_at(self, query: QueryOptions, offset: int) -> tuple[str, list[Any]]:
        """The sort values of the row at `offset` and of the one behind it."""
        arguments = Arguments(self.dialect)
        sql = (
            f"SELECT {self._keys(query.sort)} FROM {self.table}{self.where(query, arguments)}{self.order(query.sort)} "
            f"LIMIT 2 OFFSET {arguments.bind(offset)}"
        )
        return sql, arguments.values

    def count(self, query: QueryOptions) -> tuple[str, list[Any]]:
        """How many rows a query has, up to the ceiling when it says so."""
        arguments = Arguments(self.dialect)
        return self._count(query, self.where(query, arguments), arguments), arguments.values

    def _count(self, query: QueryOptions, where: str, arguments: Arguments) -> str:
        if query.count is Count.CAPPED:
            ceiling = arguments.bind(self.resource.limits.count_ceiling + 1)
            return f"SELECT count(*) FROM (SELECT 1 FROM {self.table}{where} LIMIT {ceiling}) c"
        return f"SELECT count(*) FROM {self.table}{where}"

    def _keys(self, sort: Sequence[Sort]) -> str:
        fields = self.resource.fields
        return ", ".join(self.dialect.key(self.columns[key.field], fields[key.field]) for key in sort)

    # Conditions

    def _spec(self, spec: FilterSpec, arguments: Arguments) -> str:
        if isinstance(spec, Comparison):
            return self._comparison(spec, arguments)
        if isinstance(spec, AllOf):
            return f"({' AND '.join(self._spec(part, arguments) for part in spec.parts)})" if spec.parts else TRUE
        if isinstance(spec, AnyOf):
            return f"({' OR '.join(self._spec(part, arguments) for part in spec.parts)})" if spec.parts else FALSE
        if isinstance(spec, Negation):
            # SQL's third truth value ends here: what is not true is false, so its negation is true.
            return f"(({self._spec(spec.part, arguments)}) IS NOT TRUE)"
        assert_never(spec)

    def _comparison(self, spec: Comparison, arguments: Arguments) -> str:
        field = self.resource.fields[spec.field]
        column = self.columns[spec.field]
        dialect = self.dialect
        if spec.operator is Operator.NULL:
            return f"{column} IS NULL" if spec.value else f"{column} IS NOT NULL"
        if spec.operator is Operator.HAS:
            item = field.item or field
            is_json = spec.field in self.json_columns
            return dialect.has(self._qualified(spec.field), spec.value, item, arguments.bind, is_json=is_json)

        def bind(value: Any) -> str:
            return arguments.bind(self.stored(spec.field, value))

        if spec.operator in {Operator.IN, Operator.NIN}:
            return self._choice(spec, column, arguments)
        if spec.operator is Operator.NE:
            return dialect.differs(column, bind(spec.value))
        if spec.operator is Operator.BETWEEN:
            low, high = spec.value
            ordered = dialect.ordered(column, field)
            return f"({ordered} >= {bind(low)} AND {ordered} <= {bind(high)})"
        if spec.operator is Operator.EQ:
            return f"{column} = {bind(spec.value)}"
        if spec.operator in _COMPARE:
            return f"{dialect.ordered(column, field)} {_COMPARE[spec.operator]} {bind(spec.value)}"
        return self._match(spec, column, bind)

    def _choice(self, spec: Comparison, column: str, arguments: Arguments) -> str:
        values = [self.stored(spec.field, value) for value in spec.value]
        found = self.dialect.any_of(column, values, arguments.bind)
        return found if spec.operator is Operator.IN else f"(({found}) IS NOT TRUE)"

    def _match(self, spec: Comparison, column: str, bind: Callable[[Any], str]) -> str:
        dialect = self.dialect
        match spec.operator:
            case Operator.CONTAINS:
                return dialect.contains(column, bind(spec.value))
            case Operator.ICONTAINS:
                return dialect.contains(dialect.folded(column), bind(fold_case(spec.value)))
            case Operator.STARTS:
                return dialect.starts(column, bind(spec.value))
            case Operator.ISTARTS:
                return dialect.starts(dialect.folded(column), bind(fold_case(spec.value)))
            case Operator.ENDS:
                return dialect.ends(column, bind(spec.value))
        raise AssertionError(spec.operator)

    def _term(self, term: str, arguments: Arguments) -> str:
        marker = arguments.bind(fold_case(term))
        found = [
            self.dialect.contains(self.dialect.folded(self.columns[name]), marker) for name in self.resource.searchable
        ]
        return f"({' OR '.join(found)})"

    def _behind(self, sort: Sequence[Sort], after: Sequence[Any], arguments: Arguments) -> str:
        """Whether a row comes after the one with the sort values `after`."""
        fields = [self.resource.fields[key.field] for key in sort]
        if len({key.is_descending for key in sort}) == 1 and not any(field.nullable for field in fields):
            columns = ", ".join(
                self.dialect.ordered(self.columns[key.field], field) for key, field in zip(sort, fields, strict=True)
            )
            values = ", ".join(
                arguments.bind(self.stored(key.field, value)) for key, value in zip(sort, after, strict=True)
            )
            return f"({columns}) {'<' if sort[0].is_descending else '>'} ({values})"
        alternatives = []
        same: list[str] = []
        for key, field, value in zip(sort, fields, after, strict=True):
            column = self.columns[key.field]
            if value is None:
                # Nulls are last, so only the keys behind this one can put a row after it.
                same.append(f"{column} IS NULL")
                continue
            marker = arguments.bind(self.stored(key.field, value))
            beyond = f"{self.dialect.ordered(column, field)} {'<' if key.is_descending else '>'} {marker}"
            if field.nullable:
                beyond = f"({beyond} OR {column} IS NULL)"
            alternatives.append(" AND ".join([*same, beyond]))
            same.append(f"{column} = {marker}")
        return f"({' OR '.join(alternatives)})"
