"""One number for each group of rows, by the rules that clients know from pandas."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from domain.charts.kinds import Function, check_field, listed, refused
from domain.errors import cut
from domain.frames import DataFrame

Group = tuple[Any, ...]


def aggregated(frame: DataFrame, group_by: Sequence[str], field: str, function: Function) -> DataFrame:
    """A frame with a row for each group, in the order of their keys, and what `function` makes of the group's cells.

    Rows without one of the keys are left out, and so are empty cells, except that `count` counts rows.
    """
    result = f"{field}_{function}"
    if result in group_by:
        raise refused(f"The result would be called '{result}', as one of group_by is", "group_by", list(group_by))
    groups = _groups(frame, group_by, field)
    rows = [[*key, _value(groups[key], field, function)] for key in sorted(groups, key=_order)]
    return DataFrame([*group_by, result], rows)


def check_aggregation(columns: Sequence[str], group_by: Sequence[str], field: str) -> None:
    """Raise `Invalid` for fields that are not there, or none to group by."""
    if not group_by:
        raise refused(f"group_by names no field; there are: {listed(columns)}", "group_by", [], tuple(columns[:100]))
    for name in group_by:
        check_field(name, columns, "group_by", f"Group field '{cut(name)}' not found in data")
    twice = next((name for name in group_by if group_by.count(name) > 1), None)
    if twice is not None:
        raise refused(f"Group field '{cut(twice)}' is named more than once", "group_by", list(group_by))
    check_field(field, columns, "agg_field", f"Aggregation field '{cut(field)}' not found in data")


def _groups(frame: DataFrame, group_by: Sequence[str], field: str) -> dict[Group, list[Any]]:
    places = [frame.columns.index(name) for name in group_by]
    at = frame.columns.index(field)
    groups: dict[Group, list[Any]] = {}
    for number, row in enumerate(frame.data):
        key = tuple(row[place] for place in places)
        if None in key:
            continue
        try:
            groups.setdefault(key, []).append(row[at])
        except TypeError:
            message = f"Group fields hold single values; row {number} has an array or an object in one of them"
            raise refused(message, "group_by", list(group_by)) from None
    return groups


def _order(key: Group) -> list[tuple[bool, Any]]:
    # Numbers and texts cannot be compared with each other.
    return [(isinstance(part, str), part) for part in key]


_NUMERIC: dict[Function, Callable[[list[Any]], Any]] = {
    Function.MEAN: statistics.fmean,
    Function.SUM: sum,
    Function.MEDIAN: statistics.median,
}


def _value(cells: list[Any], field: str, function: Function) -> Any:
    if function is Function.COUNT:
        return len(cells)
    present = [cell for cell in cells if cell is not None]
    if function in _NUMERIC or not all(isinstance(cell, str) for cell in present):
        odd = next((cell for cell in present if not isinstance(cell, int | float)), None)
        if odd is not None:
            raise refused(f"{function} needs numbers, and '{cut(field)}' holds {cut(repr(odd))}", "agg_field", field)
    if not present:
        return 0 if function is Function.SUM else None
    if function in _NUMERIC:
        return _NUMERIC[function](present)
    return min(present) if function is Function.MIN else max(present)
