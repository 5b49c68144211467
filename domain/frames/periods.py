"""The calendar of forecasts: months and ISO weeks by their names."""

from datetime import date, timedelta
from typing import Literal

PeriodKind = Literal["monthly", "weekly"]


def months(first_year: int, count: int) -> list[str]:
    """Months from January of a year on, as `YYYY-MM`."""
    return [f"{first_year + index // 12:04}-{index % 12 + 1:02}" for index in range(count)]


def weeks(first_year: int, count: int) -> list[str]:
    """Weeks from the first ISO week of a year on, as `YYYY-Www`; some years have 53."""
    monday = date.fromisocalendar(first_year, 1, 1)
    calendar = ((monday + timedelta(weeks=index)).isocalendar() for index in range(count))
    return [f"{year:04}-W{week:02}" for year, week, _ in calendar]


def periods(kind: PeriodKind, first_year: int, count: int) -> list[str]:
    """Periods of a kind that follow each other."""
    return weeks(first_year, count) if kind == "weekly" else months(first_year, count)
