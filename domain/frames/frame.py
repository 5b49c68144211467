"""The table that models work on: the interchange format with everything that can be done with it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, overload

from domain.frames import (
    columns as by_column,
)
from domain.frames import (
    conversions,
    csv,
    grouping,
    joining,
    missing,
    parquet,
    records,
    reshaping,
    rows,
    structure,
    wire,
)
from domain.frames.structure import Frame


class DataFrame(Frame, omit_defaults=True):
    """A table on the wire: `columns`, `data` (a list of rows; a cell is any JSON value) and perhaps a `schema`.

    Every operation returns a new frame and leaves this one alone. A column that does not exist is a `KeyError`, a
    result that would be no frame an `InvalidFrame` (a `ValueError`). The schema survives: what is known of a column
    stays as long as its cells agree, and types of new columns are inferred.
    """

    # From and to other formats

    @classmethod
    def _of(cls, frame: Frame) -> Self:
        return cls(frame.columns, frame.data, frame.schema)

    @classmethod
    def decode(cls, content: bytes | str) -> Self:
        """The frame on the wire, checked. Raises `InvalidFrame`."""
        return wire.decoded(cls, content)

    encode = wire.encode_frame

    @classmethod
    def from_dict(cls, columns: Mapping[str, Iterable[Any]]) -> Self:
        """A frame of columns of one length."""
        return cls._of(records.of_columns(columns))

    @classmethod
    def from_records(cls, items: Iterable[Mapping[str, Any]]) -> Self:
        """A frame of dictionaries; the first says which columns there are, and a later one that lacks any is a
        `KeyError`."""
        return cls._of(records.of_records(items))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """A frame of a JSON array of objects."""
        return cls._of(records.of_json(text))

    @classmethod
    def from_csv(
        cls,
        path: str | Path | None = None,
        *,
        csv_string: str | None = None,
        delimiter: str = ",",
        has_header: bool = True,
        encoding: str = "utf-8",
        infer_types: bool = True,
    ) -> Self:
        """A frame of a CSV file or text, exactly one of the two; `domain.frames.csv` has the rules for types."""
        if path is not None and csv_string is None:
            csv_string = csv.read(path, encoding)
        elif path is not None or csv_string is None:
            raise ValueError("give exactly one of path and csv_string")
        return cls._of(csv.of_csv(csv_string, delimiter, has_header, infer_types))

    def to_csv(
        self,
        path: str | Path | None = None,
        *,
        delimiter: str = ",",
        include_header: bool = True,
        encoding: str = "utf-8",
    ) -> str | None:
        """The frame as CSV: text, or None when it was written to a file."""
        text = csv.to_csv(self, delimiter, include_header)
        if path is None:
            return text
        csv.write(path, text, encoding)
        return None

    @classmethod
    def from_pandas(cls, table: Any) -> Self:
        """A frame of a pandas DataFrame; its index is lost, NaN becomes null."""
        return cls._of(conversions.of_pandas(table))

    @classmethod
    def from_polars(cls, table: Any) -> Self:
        """A frame of a polars DataFrame; NaN becomes null."""
        return cls._of(conversions.of_polars(table))

    @classmethod
    def from_xarray(cls, array: Any) -> Self:
        """A frame of an xarray DataArray with two dimensions."""
        return cls._of(conversions.of_xarray(array))

    @classmethod
    def from_arrow(cls, table: Any) -> Self:
        """A frame of an Arrow table."""
        return cls._of(parquet.of_arrow(table))

    @classmethod
    def from_parquet(cls, source: bytes | str | Path) -> Self:
        """A frame of Parquet, in bytes or in a file."""
        return cls._of(parquet.of_parquet(source))

    from_dataframe = from_pandas
    to_pandas = to_dataframe = conversions.to_pandas
    to_polars = conversions.to_polars
    to_arrow = parquet.to_arrow
    to_parquet = parquet.to_parquet
    to_dict = records.to_dict
    to_json = records.to_json

    # What it is

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        return len(self.data), len(self.columns)

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.data) * len(self.columns)

    @property
    def ndim(self) -> int:
        """Two: rows and columns."""
        return 2

    @property
    def empty(self) -> bool:
        """Whether there are no rows or no columns."""
        return not self.data or not self.columns

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.data)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries."""
        return rows.iterate(self)

    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    @overload
    def __getitem__(self, key: list[str]) -> Self: ...
    def __getitem__(self, key: str | list[str]) -> Any:
        """The cells of the named column, or a frame of the listed ones."""
        if isinstance(key, str):
            return by_column.get_column(self, key)
        if isinstance(key, list):
            return by_column.select(self, key)
        raise TypeError(f"a column is named by text, several by a list of it, not by {type(key).__name__}")

    validate_structure = structure.validate_structure
    infer_types = by_column.infer_types
    has_nulls = by_column.has_nulls
    equals = rows.equals
    describe = grouping.describe

    # Columns

    with_schema = by_column.with_schema
    get_column = by_column.get_column
    select = by_column.select
    drop = by_column.drop
    rename = rename_columns = by_column.rename
    add_column = by_column.add_column
    apply = by_column.apply
    unique = by_column.unique
    nunique = by_column.nunique
    value_counts = by_column.value_counts

    # Rows

    head = rows.head
    tail = rows.tail
    sample = rows.sample
    sort = rows.sort
    filter = rows.filter
    drop_rows = rows.drop_rows
    drop_duplicates = rows.drop_duplicates
    concat = rows.concat
    deepcopy = rows.deepcopy

    # Nulls

    fillna = missing.fillna
    isna = missing.isna
    notna = missing.notna
    dropna = missing.dropna

    # Other shapes

    melt = reshaping.melt
    pivot = reshaping.pivot
    transpose = reshaping.transpose
    merge = joining.merge
    groupby = grouping.groupby
