"""What a model knows when it is tried on the past: never anything later than the cut-off."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backtests import BacktestPlan, cutoffs, future_rows, periods_in, training_rows, truth_of
from domain.errors import Invalid
from domain.frames import DataFrame
from domain.frames.periods import PeriodKind, periods

TARGET = "disease_cases"
COLUMNS = ["time_period", "location", TARGET, "rainfall"]


@st.composite
def histories(draw: st.DrawFn, least: int = 2) -> tuple[list[str], DataFrame]:
    """The periods of a frame in the order of time, and the frame with its rows in any order, some of them missing."""
    kind: PeriodKind = draw(st.sampled_from(("monthly", "weekly")))
    # Weeks begin where a year of 53 of them ends.
    names = periods(kind, 2020, 80)[draw(st.integers(0, 50)) :][: draw(st.integers(least, 20))]
    places = draw(st.lists(st.sampled_from(["oslo", "rome", "lima"]), min_size=1, unique=True))
    rows = [
        [name, place, draw(st.none() | st.integers(0, 99)), draw(st.floats(0, 9))]
        for name in names
        for index, place in enumerate(places)
        if index == 0 or draw(st.booleans())
    ]
    return names, DataFrame(COLUMNS, draw(st.permutations(rows)))


@given(histories(), st.data())
def test_nothing_later_than_the_cutoff_is_learned_from_and_no_target_is_told(
    history: tuple[list[str], DataFrame], data: st.DataObject
) -> None:
    names, frame = history
    order = {name: index for index, name in enumerate(names)}
    last = data.draw(st.integers(0, len(names) - 2))
    horizon = data.draw(st.integers(1, 5))
    window = data.draw(st.none() | st.integers(1, 25))
    cutoff = names[last]
    known = training_rows(frame, cutoff, window=window)
    future = future_rows(frame, cutoff, horizon, target=TARGET)
    truth = truth_of(frame, cutoff, horizon, target=TARGET)
    first = 0 if window is None else max(0, last - window + 1)
    assert known.data == [row for row in frame.data if first <= order[row[0]] <= last]
    assert known.columns == COLUMNS
    assert TARGET not in future.columns
    asked = [row for row in frame.data if last < order[row[0]] <= last + horizon]
    assert future.data == [[row[0], row[1], row[3]] for row in asked]
    assert truth == {(row[0], row[1]): row[2] for row in asked if row[2] is not None}
    assert {row[0] for row in known.data}.isdisjoint(row[0] for row in future.data)


@given(histories(least=2), st.data())
def test_what_comes_later_changes_nothing_that_a_model_is_given(
    history: tuple[list[str], DataFrame], data: st.DataObject
) -> None:
    names, frame = history
    last = data.draw(st.integers(0, len(names) - 2))
    changed = DataFrame(COLUMNS, [[*row[:2], row[2] if row[0] <= names[last] else -1, row[3]] for row in frame.data])
    assert training_rows(changed, names[last]) == training_rows(frame, names[last])
    assert future_rows(changed, names[last], 3, target=TARGET) == future_rows(frame, names[last], 3, target=TARGET)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 12), st.booleans())
def test_every_split_has_a_whole_horizon_behind_it_and_enough_before_it(
    count: int, horizon: int, splits: int, stride: int, least: int, is_weekly: bool
) -> None:
    names = periods("weekly" if is_weekly else "monthly", 2020, count)
    frame = DataFrame(["time_period", "location", TARGET], [[name, "oslo", 1] for name in names])
    plan = BacktestPlan(horizon=horizon, splits=splits, stride=stride, min_train_periods=least)
    if count < least + horizon + (splits - 1) * stride:
        with pytest.raises(Invalid, match=f"{count} periods are too few for {splits} splits"):
            cutoffs(frame, plan)
        return
    found = [names.index(cutoff) for cutoff in cutoffs(frame, plan)]
    assert len(found) == splits
    assert found == sorted(found)
    assert found[-1] == count - horizon - 1
    assert all(after - before == stride for before, after in pairwise(found))
    assert found[0] + 1 >= least


def test_weeks_of_a_year_with_53_of_them_follow_each_other() -> None:
    names = periods("weekly", 2020, 56)
    frame = DataFrame(["time_period", "location", TARGET], [[name, "oslo", 1] for name in reversed(names)])
    assert names[52] == "2020-W53"
    assert periods_in(frame) == names
    assert {row[0] for row in future_rows(frame, "2020-W52", 2, target=TARGET).data} == {"2020-W53", "2021-W01"}


@pytest.mark.parametrize("name", ["2024-W09", "2024-3", "2024-03-01", "None"])
def test_periods_that_cannot_be_ordered_are_refused_everywhere(name: str) -> None:
    """As text `2024-W09` is behind every month, and `2024-10` before `2024-9`: that would leak."""
    mixed = DataFrame(["time_period", "location", TARGET], [["2024-02", "oslo", 1], [name, "oslo", 2]])
    months = DataFrame(["time_period", "location", TARGET], [["2024-02", "oslo", 1]])
    plan = BacktestPlan(horizon=1, splits=1)
    attempts: list[Any] = [
        lambda: cutoffs(mixed, plan),
        lambda: training_rows(mixed, "2024-02"),
        lambda: training_rows(months, name),
        lambda: future_rows(mixed, "2024-02", 1, target=TARGET),
        lambda: truth_of(months, name, 1, target=TARGET),
    ]
    for attempt in attempts:
        with pytest.raises(Invalid, match="periods are written in different ways"):
            attempt()


def test_what_is_not_there_is_named() -> None:
    frame = DataFrame(["time_period", "location", TARGET], [["2024-02", "oslo", 1], ["2024-03", "oslo", 1]])
    with pytest.raises(Invalid, match="nothing is known up to 2024-01"):
        training_rows(frame, "2024-01", window=3)
    with pytest.raises(Invalid, match='no column "deaths" to compare with among time_period, location, disease_cases'):
        truth_of(frame, "2024-02", 1, target="deaths")


def test_a_row_without_a_period_is_refused_and_what_is_no_number_is_no_truth() -> None:
    columns = ["time_period", "location", "disease_cases"]
    with pytest.raises(Invalid, match='a row has no "time_period"'):
        periods_in(DataFrame(columns, [[None, "lima", 1.0]]))
    rows = [["2024-01", "lima", 1.0], ["2024-02", "lima", float("inf")], ["2024-02", "oslo", 2.0]]
    assert truth_of(DataFrame(columns, rows), "2024-01", 1, target="disease_cases") == {("2024-02", "oslo"): 2.0}
