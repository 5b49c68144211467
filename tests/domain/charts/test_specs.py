"""Specs of tables: each is one by the grammar itself, and says in words what it shows."""

from typing import Any

import pytest

from domain.charts import AggregateRequest, ChartKind, GenerateRequest, aggregate_chart, check_spec, generate_chart
from domain.errors import Invalid
from domain.frames import DataFrame
from tests.domain.charts import grammar

FRAME = DataFrame(
    ["month", "cases", "place"], [["Jan", 3, "Oslo"], ["Feb", 5.5, "Oslo"], ["Jan", None, "Bergen"], ["Feb", 1, None]]
)


def made(**more: Any) -> Any:
    asked = {"data": FRAME, "chart_type": "bar", "x_field": "month", "y_field": "cases", **more}
    return generate_chart(GenerateRequest(**asked))


@pytest.mark.parametrize("kind", ChartKind)
@pytest.mark.parametrize("color", [None, "place"])
@pytest.mark.parametrize("aggregate", [None, "mean", "q1"])
def test_every_kind_is_a_spec_and_harmless(kind: str, color: str | None, aggregate: str | None) -> None:
    chart = made(chart_type=kind, color_field=color, aggregate=aggregate, title="T")
    spec = grammar.check(chart.spec)
    check_spec(spec, 1_000)
    assert spec["data"]["values"][1] == {"month": "Feb", "cases": 5.5, "place": "Oslo"}
    assert chart.row_count == 4


def test_a_description_says_what_can_be_seen() -> None:
    text = made(title="Cases", color_field="place").spec["description"]
    assert text == (
        "Bar chart “Cases”. 4 rows. month: 2 values (Jan, Feb). cases: from 1 to 5.5, 1 missing. "
        "place: 2 values (Oslo, Bergen), 1 missing."
    )


def test_names_that_would_be_paths_become_keys_with_their_names_as_titles() -> None:
    frame = DataFrame(["a.b[0]", "column_0", "c\\d"], [[1, 2, 3]])
    spec = made(data=frame, x_field="a.b[0]", y_field="c\\d", color_field="column_0").spec
    grammar.check(spec)
    assert spec["encoding"]["x"] == {"field": "column_0_", "type": "nominal", "title": "a.b[0]"}
    assert spec["data"]["values"] == [{"column_0_": 1, "column_0": 2, "column_2": 3}]


@pytest.mark.parametrize(
    "function, expected",
    [
        ("mean", [["Feb", 3.25], ["Jan", 3.0]]),
        ("sum", [["Feb", 6.5], ["Jan", 3]]),
        ("count", [["Feb", 2], ["Jan", 2]]),
        ("median", [["Feb", 3.25], ["Jan", 3]]),
        ("min", [["Feb", 1], ["Jan", 3]]),
        ("max", [["Feb", 5.5], ["Jan", 3]]),
    ],
)
def test_groups_are_summed_up_in_the_order_of_their_keys(function: str, expected: list[Any]) -> None:
    chart = aggregate_chart(AggregateRequest(data=FRAME, group_by=["month"], agg_field="cases", agg_func=function))
    assert [list(row.values()) for row in chart.spec["data"]["values"]] == expected
    assert chart.spec["title"] == f"{function.capitalize()} of cases"


def test_rows_without_a_key_belong_to_no_group() -> None:
    asked = AggregateRequest(data=FRAME, group_by=["place", "month"], agg_field="cases", agg_func="count")
    chart = aggregate_chart(asked)
    assert chart.columns == ["place", "month", "cases_count"]
    assert [list(row.values()) for row in chart.spec["data"]["values"]] == [
        ["Bergen", "Jan", 1],
        ["Oslo", "Feb", 1],
        ["Oslo", "Jan", 1],
    ]
    assert chart.spec["encoding"]["color"]["field"] == "month"


@pytest.mark.parametrize(
    "more, said",
    [
        ({"agg_func": "mean", "agg_field": "place"}, "mean needs numbers, and 'place' holds 'Oslo'"),
        ({"group_by": ["month", "month"]}, "Group field 'month' is named more than once"),
        ({"data": DataFrame(["month", "cases"], [[[1], 2]])}, "Group fields hold single values; row 0"),
    ],
)
def test_what_cannot_be_summed_up_is_said(more: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"data": FRAME, "group_by": ["month"], "agg_field": "cases", "agg_func": "sum", **more}
    with pytest.raises(Invalid, match=said.replace("(", r"\(")):
        aggregate_chart(AggregateRequest(**asked))


HARMLESS: dict[str, Any] = {"mark": "bar", "data": {"values": [{"url": "https://x", "expr": 1}]}, "encoding": {}}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"data": {"url": "https://example.org/x.csv"}}, '"data.url" is refused'),
        ({"encoding": {"href": {"field": "a"}}}, '"encoding.href" is refused'),
        ({"encoding": {"url": {"value": "http://x/y.png"}}, "mark": "image"}, '"encoding.url" is refused'),
        ({"transform": [{"calculate": "1+1", "as": "x"}]}, '"transform.0.calculate" is refused'),
        ({"transform": [{"filter": "datum.x > 1"}]}, '"transform.0.filter" is refused'),
        ({"transform": [{"filter": {"and": ["datum.x"]}}]}, '"transform.0.filter.and" is refused'),
        ({"params": [{"name": "p", "expr": "1"}]}, '"params" is refused'),
        ({"mark": {"type": "bar", "width": {"expr": "x"}}}, '"mark.width.expr" is refused'),
        ({"encoding": {"x": {"axis": {"labelExpr": "x"}}}}, '"encoding.x.axis.labelExpr" is refused'),
        ({"config": {"signals": []}}, '"config.signals" is refused'),
        ({"usermeta": {"embedOptions": {"patch": "http://x"}}}, '"usermeta" is refused'),
        ({"layer": [{"data": {"url": "file:///etc/passwd"}}]}, '"layer.0.data.url" is refused'),
        ({"width": 1_000_000}, '"width" is refused: it is more than 2,000'),
        ({"$schema": "https://vega.github.io/schema/vega/v5.json"}, "only Vega-Lite v5"),
    ],
)
def test_specs_that_run_or_reach_out_are_refused(change: dict[str, Any], said: str) -> None:
    check_spec(HARMLESS, 100)
    with pytest.raises(Invalid) as caught:
        check_spec({**HARMLESS, **change}, 100)
    assert said in caught.value.detail


def test_a_spec_that_is_none_is_refused() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"layer": [deep]}
    for spec, size in (([], 2), (deep, 100), (HARMLESS, 10**9)):
        with pytest.raises(Invalid):
            check_spec(spec, size)
