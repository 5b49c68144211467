"""Frames from and to the tables of pandas, polars and xarray, which a service only needs when its model does."""

import importlib
import math
from typing import Any

from domain.frames.rows import column_cells
from domain.frames.structure import Frame, InvalidFrame, check_structure, plain


def needed(module: str, install: str) -> Any:
    """An optional library, or an `ImportError` that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed for this and not installed: pip install {install}") from error


def of_pandas(table: Any) -> Frame:
    """A frame of a pandas DataFrame; its index is lost. NaN, NaT and NA become null, times and periods text."""
    pandas = needed("pandas", "millrace[pandas]")
    if not isinstance(table, pandas.DataFrame):
        raise TypeError(f"a pandas DataFrame is needed, not {type(table).__name__}")
    names = table.columns.tolist()
    cells = [_of_series(table.iloc[:, index]) for index in range(len(names))]
    return _checked(names, cells, len(table))


def _of_series(series: Any) -> list[Any]:
    cells = series.tolist()
    if not series.hasnans and series.dtype.kind in "biuf":
        return list(cells)
    missing = series.isna().tolist()
    return [None if gone else _cell(cell) for cell, gone in zip(cells, missing, strict=True)]


def _cell(cell: Any) -> Any:
    if cell is None or isinstance(cell, str | bool | int | float | list | dict):
        return plain(cell)
    known = plain(cell)
    # A pandas period, a decimal and the like have a text that says it all.
    return str(known) if known is cell else known


def _checked(names: list[Any], cells: list[list[Any]], height: int) -> Frame:
    frame = Frame(names, [list(row) for row in zip(*cells, strict=True)] if cells else [[] for _ in range(height)])
    check_structure(frame)
    return frame


def to_pandas(frame: Frame) -> Any:
    """The frame as a pandas DataFrame; nulls among numbers are NaN there."""
    return needed("pandas", "millrace[pandas]").DataFrame(frame.data, columns=frame.columns)


def of_polars(table: Any) -> Frame:
    """A frame of a polars DataFrame. NaN becomes null, times become text."""
    polars = needed("polars", "millrace[polars]")
    if not isinstance(table, polars.DataFrame):
        raise TypeError(f"a polars DataFrame is needed, not {type(table).__name__}")
    cells = [[_finite(_cell(cell)) for cell in column.to_list()] for column in table.get_columns()]
    return _checked(list(table.columns), cells, table.height)


def _finite(cell: Any) -> Any:
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def to_polars(frame: Frame) -> Any:
    """The frame as a polars DataFrame. Raises `InvalidFrame` for a column whose cells polars cannot put together."""
    polars = needed("polars", "millrace[polars]")
    series = []
    for name, cells in column_cells(frame).items():
        try:
            series.append(polars.Series(name, cells, strict=len({type(cell) for cell in cells} - {type(None)}) < 2))
        except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError) as error:
            raise InvalidFrame(f"column {name!r} is none for polars: {error}") from None
    return polars.DataFrame(series)


def of_xarray(array: Any) -> Frame:
    """A frame of a DataArray with two dimensions: rows along the first, columns named by the labels of the second."""
    xarray = needed("xarray", "xarray")
    if not isinstance(array, xarray.DataArray):
        raise TypeError(f"an xarray DataArray is needed, not {type(array).__name__}")
    if array.ndim != 2:
        raise InvalidFrame(f"an array with 2 dimensions is needed, not {array.ndim}")
    table = array.to_pandas()
    table.columns = [str(label) for label in table.columns]
    return of_pandas(table)
