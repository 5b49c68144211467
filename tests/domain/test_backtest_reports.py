"""What a backtest has found, and the baseline it is compared with."""

import msgspec
import numpy as np
import pytest

from domain.backtest_reports import BASELINE, BASELINE_LEVELS, BacktestReport, report_of, seasonal_naive
from domain.backtests import BacktestPlan, cutoffs, future_rows, training_rows, truth_of
from domain.errors import Invalid
from domain.forecasts import Forecast, ForecastKind, Key, forecast_of
from domain.frames import DataFrame
from domain.frames.periods import periods
from domain.scores import scores_of

TARGET = "disease_cases"
NAMES = periods("monthly", 2020, 48)
PLACES = ("lima", "oslo")
PLAN = BacktestPlan(horizon=3, splits=4, stride=2, min_train_periods=24)


def history() -> DataFrame:
    chance = np.random.default_rng(1)
    rows = [
        [name, place, round(float(20 + 15 * np.sin(index * np.pi / 6) + chance.normal(0, 4)), 3)]
        for index, name in enumerate(NAMES)
        for place in PLACES
    ]
    return DataFrame(["time_period", "location", TARGET], rows)


def forecasts(frame: DataFrame, spread: float, seed: int = 2) -> dict[str, Forecast]:
    """Samples around the truth of each split, by cut-off."""
    chance = np.random.default_rng(seed)
    found = {}
    for cutoff in cutoffs(frame, PLAN):
        truth = truth_of(frame, cutoff, PLAN.horizon, target=TARGET)
        values = np.array(list(truth.values()))[:, None] + chance.normal(0, spread, (len(truth), 200))
        labels = tuple(f"sample_{index}" for index in range(200))
        found[cutoff] = Forecast(kind=ForecastKind.SAMPLE, keys=list(truth), labels=labels, values=values)
    return found


def reported(frame: DataFrame, **spreads: float) -> tuple[BacktestReport, dict[tuple[str, str], Forecast]]:
    given = {
        (name, cutoff): forecast
        for name, spread in spreads.items()
        for cutoff, forecast in forecasts(frame, spread).items()
    }
    return report_of(TARGET, PLAN.horizon, cutoffs(frame, PLAN), given, frame), given


def test_a_report_says_of_each_part_what_the_scores_of_its_rows_say() -> None:
    frame = history()
    report, given = reported(frame, good=1.0, poor=60.0)
    assert report.models == ["good", "poor"]
    assert report.cutoffs == ["2023-03", "2023-05", "2023-07", "2023-09"]
    first = given["good", "2023-05"]
    truth = truth_of(frame, "2023-05", 3, target=TARGET)
    scores = scores_of(first, truth)
    assert report.by_split["good"]["2023-05"].crps == pytest.approx(scores.values["crps"].mean())
    every = [
        (key, cutoff, crps) for cutoff in report.cutoffs for key, crps in _rows(given["good", cutoff], frame, cutoff)
    ]
    assert report.overall["good"].n == len(every) == 4 * 3 * 2
    assert report.overall["good"].crps == pytest.approx(np.mean([crps for *_, crps in every]))
    for place in PLACES:
        assert report.by_location["good"][place].crps == pytest.approx(
            np.mean([crps for key, _, crps in every if key[1] == place])
        )
    for step in range(3):
        of_step = [c for key, cutoff, c in every if NAMES.index(key[0]) - NAMES.index(cutoff) == step + 1]
        assert report.by_horizon["good"][step].n == len(of_step) == 8
        assert report.by_horizon["good"][step].crps == pytest.approx(np.mean(of_step))


def _rows(forecast: Forecast, frame: DataFrame, cutoff: str) -> list[tuple[Key, float]]:
    scores = scores_of(forecast, truth_of(frame, cutoff, 3, target=TARGET))
    return list(zip(scores.keys, scores.values["crps"].tolist(), strict=True))


def test_skill_is_against_the_seasonal_naive_forecast_of_the_same_rows() -> None:
    report, _ = reported(history(), good=1.0, poor=60.0)
    good, poor, naive = (report.overall[name] for name in ("good", "poor", BASELINE))
    assert None not in (good.crps, good.skill, poor.skill, naive.crps)
    assert good.skill == pytest.approx(1 - good.crps / naive.crps)  # type: ignore[operator]
    assert good.skill > 0 > poor.skill  # type: ignore[operator]
    assert naive.skill == 0
    part = report.by_location["good"]["oslo"]
    assert part.skill == pytest.approx(1 - part.crps / report.by_location[BASELINE]["oslo"].crps)  # type: ignore[operator]


def test_a_report_comes_back_from_json_and_its_histograms_sum_to_1() -> None:
    report, _ = reported(history(), good=4.0)
    assert msgspec.json.decode(msgspec.json.encode(report), type=BacktestReport) == report
    assert report.pit.keys() == {"good", BASELINE}
    for shares in report.pit.values():
        assert len(shares) == 10
        assert sum(shares) == pytest.approx(1)


def test_truths_that_are_not_known_are_counted_and_left_out() -> None:
    frame = history()
    whole, given = reported(frame, good=4.0)
    frame.data[-1][2] = None
    report = report_of(TARGET, 3, cutoffs(frame, PLAN), given, frame)
    assert (whole.missing, report.missing) == (0, 1)
    assert report.overall["good"].n == whole.overall["good"].n - 1


def test_a_forecast_that_leaves_out_what_was_asked_is_refused() -> None:
    frame = history()
    _, given = reported(frame, good=4.0)
    part = given["good", "2023-05"]
    given["good", "2023-05"] = msgspec.structs.replace(part, keys=part.keys[1:], values=part.values[1:])
    with pytest.raises(Invalid, match="the forecast of good after 2023-05 lacks 2023-06 of lima"):
        report_of(TARGET, 3, cutoffs(frame, PLAN), given, frame)
    with pytest.raises(Invalid, match='"seasonal_naive" is the name of the baseline'):
        report_of(TARGET, 3, cutoffs(frame, PLAN), {(BASELINE, "2023-05"): part}, frame)


def test_the_baseline_is_what_the_same_season_of_earlier_years_was_like() -> None:
    frame = history()
    known = training_rows(frame, "2023-05")
    asked = [(row[0], row[1]) for row in future_rows(frame, "2023-05", 3, target=TARGET).data]
    naive = seasonal_naive(known, asked, TARGET)
    assert naive.keys == asked
    cells = {(row[0], row[1]): row[2] for row in frame.data}
    for key, row in zip(naive.keys, naive.values, strict=True):
        earlier = [cells[f"{year}{key[0][4:]}", key[1]] for year in (2020, 2021, 2022)]
        np.testing.assert_allclose(row, np.quantile(earlier, BASELINE_LEVELS))
    assert forecast_of(naive.to_frame()).labels == naive.labels


def test_the_baseline_falls_back_to_the_whole_location_and_then_to_all_of_them() -> None:
    known = DataFrame(
        ["time_period", "location", TARGET],
        [["2020-W52", "oslo", 1], ["2021-W01", "oslo", 3], ["2021-W01", "rome", 8], ["2021-W02", "rome", None]],
    )
    found = seasonal_naive(known, [("2022-W01", "oslo"), ("2022-W40", "oslo"), ("2022-W01", "lima")], TARGET)
    assert found.values[:, 0] == pytest.approx([3, np.quantile([1, 3], 0.01), np.quantile([1, 3, 8], 0.01)])
    with pytest.raises(Invalid, match='no "disease_cases" in the data'):
        seasonal_naive(DataFrame(known.columns, [known.data[-1]]), [("2022-W01", "oslo")], TARGET)


def test_a_split_without_a_forecast_is_named() -> None:
    frame = history()
    found = forecasts(frame, 1.0)
    first, *rest = found
    with pytest.raises(Invalid, match=f"there is no forecast of half after {first}"):
        report_of(TARGET, PLAN.horizon, [first, *rest], {("half", cutoff): found[cutoff] for cutoff in rest}, frame)


def test_the_rare_week_53_is_like_the_one_before_it() -> None:
    rows = [[f"2019-W{week:02}", "lima", float(week)] for week in range(1, 53)]
    known = DataFrame(["time_period", "location", TARGET], rows)
    assert seasonal_naive(known, [("2020-W53", "lima")], TARGET).point()[0] == 52
