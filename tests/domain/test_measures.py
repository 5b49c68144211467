"""Counters and histograms: what they count, and that labels are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Misconfigured
from domain.measures import OTHER, Counter, Histogram, Measures, Spread


def spread_of(histogram: Histogram, *labels: str) -> Spread:
    return histogram.values[labels]


def test_a_counter_without_labels_is_there_before_anything_happens() -> None:
    counter = Counter("books_sold_total", "Books sold")
    assert counter.values == {(): 0.0}
    counter.add()
    counter.add(amount=2.5)
    assert counter.values == {(): 3.5}


def test_a_counter_counts_by_its_labels() -> None:
    counter = Counter("books_sold_total", "Books sold", ["shop"])
    assert counter.values == {}
    for shop in ("north", "south", "north"):
        counter.add(shop)
    assert counter.values == {("north",): 2.0, ("south",): 1.0}


@given(st.lists(st.floats(0, 20)))
def test_a_histogram_puts_each_value_up_to_the_bound_that_is_not_below_it(values: list[float]) -> None:
    bounds = (0.5, 1.0, 10.0)
    histogram = Histogram("wait_seconds", "Waits", bounds=bounds)
    for value in values:
        histogram.observe(value)
    spread = spread_of(histogram)
    for index, bound in enumerate(bounds):
        assert sum(spread.counts[: index + 1]) == sum(value <= bound for value in values)
    assert spread.count == len(values)
    assert spread.total == pytest.approx(sum(values))


@pytest.mark.parametrize("kind", [Counter, Histogram])
def test_labels_beyond_the_most_are_counted_as_others(kind: type[Counter] | type[Histogram]) -> None:
    made = kind("things_total", "Things", ["name"], most=3)
    for number in range(1_000):
        made.add(str(number)) if isinstance(made, Counter) else made.observe(1.0, str(number))
    assert set(made.values) == {("0",), ("1",), ("2",), (OTHER,)}
    others = made.values[(OTHER,)]
    assert (others.count if isinstance(others, Spread) else others) == 997


def test_the_wrong_number_of_labels_is_refused_with_their_names() -> None:
    with pytest.raises(Misconfigured, match=r"\['north', 'x'\].*\['shop'\]"):
        Counter("books_sold_total", "Books sold", ["shop"]).add("north", "x")


def test_a_counter_is_called_a_total() -> None:
    with pytest.raises(Misconfigured, match=r"'books_sold'.*_total"):
        Measures().counter("books_sold", "Books sold")


def test_bounds_ascend() -> None:
    with pytest.raises(Misconfigured, match=r"'wait_seconds'.*\[1.0, 0.5\]"):
        Measures().histogram("wait_seconds", "Waits", bounds=[1.0, 0.5])


def test_measures_show_everything_that_was_added_and_what_is_included_for_a_while() -> None:
    measures = Measures()
    measures.counter("a_total", "A").add()
    measures.histogram("b_seconds", "B").observe(0.2)
    measures.gauge("c", "C", lambda: 7.0)
    inner = Counter("d_total", "D")
    with measures.including(inner.families):
        assert [family.name for family in measures.families()] == ["a_total", "b_seconds", "c", "d_total"]
    found = {family.name: family.values for family in measures.families()}
    assert set(found) == {"a_total", "b_seconds", "c"}
    assert found["c"] == [((), 7.0)]
