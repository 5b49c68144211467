"""Graphs: what is refused, who waits for whom, what runs again, and how the whole stands."""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import MOST_ERRORS, InvalidBody
from domain.graphs import (
    MOST_EDGES,
    MOST_NODES,
    Edge,
    GraphRequest,
    Node,
    On,
    edges,
    is_met,
    outcome,
    rerun_plan,
    status_of,
)
from domain.jobs import FINAL, STATUSES, IllegalTransition, Job, JobState, JobStatus

MOMENT = datetime(2025, 1, 31, 12, tzinfo=UTC)
S = JobState
SUCCESS, FAILURE, ALWAYS = On


def nodes(**members: Any) -> dict[str, Node]:
    """Nodes by name: what each depends on, or all of its members."""
    return {
        name: msgspec.convert({"task": "work", **(given if "args" in given else {"depends_on": given})}, Node)
        if isinstance(given, dict)
        else Node(task="work", depends_on=list(given))
        for name, given in members.items()
    }


def refused(given: Mapping[str, Node]) -> dict[str, str]:
    with pytest.raises(InvalidBody) as caught:
        edges(given)
    return {str(error.pointer): error.msg for error in caught.value.errors}


# Edges


@pytest.mark.parametrize(
    "given_, found",
    [
        (nodes(a=[]), []),
        (nodes(a=[], b=["a"]), [Edge("a", "b", SUCCESS)]),
        (nodes(b=["a"], a=[]), [Edge("a", "b", SUCCESS)]),
        (nodes(a=[], b=["a", "a"]), [Edge("a", "b", SUCCESS)]),
        (
            nodes(a=[], b=[], c={"a": "failure", "b": "always"}),
            [Edge("a", "c", FAILURE), Edge("b", "c", ALWAYS)],
        ),
        (nodes(a=[], b={"args": {"x": [{"$ref": "a"}, {"$ref": "a"}]}}), [Edge("a", "b", SUCCESS)]),
        (nodes(a=[], b={"args": {"x": {"$ref": "a"}}, "depends_on": ["a"]}), [Edge("a", "b", SUCCESS)]),
        (
            nodes(a=[], b=[], c={"args": {"x": {"$ref": "b"}}, "depends_on": {"a": "always"}}),
            [Edge("a", "c", ALWAYS), Edge("b", "c", SUCCESS)],
        ),
    ],
)
def test_dependencies_are_declared_or_referred_to(given_: dict[str, Node], found: list[Edge]) -> None:
    assert edges(given_) == found


def test_unknown_nodes_are_all_named() -> None:
    given_ = nodes(load=[], clean=["laod", "zzz"], train={"args": {"x": {"$ref": "clena"}}})
    with pytest.raises(InvalidBody) as caught:
        edges(given_)
    assert [(error.type, error.pointer, error.msg, error.input, error.allowed) for error in caught.value.errors] == [
        (
            "unknown_node",
            "/nodes/clean/depends_on",
            '"clean" depends on "laod", which is no node; did you mean "load"?',
            "laod",
            ("load", "clean", "train"),
        ),
        (
            "unknown_node",
            "/nodes/clean/depends_on",
            '"clean" depends on "zzz", which is no node',
            "zzz",
            caught.value.errors[0].allowed,
        ),
        (
            "unknown_node",
            "/nodes/train/depends_on",
            '"train" depends on "clena", which is no node; did you mean "clean"?',
            "clena",
            caught.value.errors[0].allowed,
        ),
    ]


@pytest.mark.parametrize("on", ["failure", "always"])
def test_a_result_is_only_there_after_a_success(on: str) -> None:
    given_ = nodes(a=[], b={"args": {"x": {"$ref": "a"}}, "depends_on": {"a": on}})
    assert refused(given_) == {"/nodes/b/args": '"b" refers to the result of "a" and does not depend on its success'}


def test_a_circle_is_named_in_full() -> None:
    [(pointer, message)] = refused(nodes(start=[], a=["start", "c"], b=["a"], c={"args": {"x": {"$ref": "b"}}})).items()
    way = message.removeprefix("the nodes depend on each other in a circle: ").split(" -> ")
    assert way[0] == way[-1]
    assert set(way) == {"a", "b", "c"}
    assert len(way) == 4
    assert pointer == f"/nodes/{way[0]}"
    assert " ".join(way[:-1]) in {"a b c", "b c a", "c a b"}
    assert refused(nodes(a=["a"])) == {"/nodes/a": "the nodes depend on each other in a circle: a -> a"}


@given(st.integers(1, 6), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_graph_is_refused_exactly_when_there_is_a_circle(size: int, pairs: set[tuple[int, int]]) -> None:
    pairs = {(parent % size, child % size) for parent, child in pairs}
    given_ = {str(n): Node(task="work", depends_on=[str(p) for p, c in sorted(pairs) if c == n]) for n in range(size)}
    reached = {(a, b) for a, b in pairs}
    for _ in range(size):
        reached |= {(a, d) for a, b in reached for c, d in reached if b == c}
    is_circular = any(a == b for a, b in reached)
    if not is_circular:
        assert {(int(edge.parent), int(edge.child)) for edge in edges(given_)} == pairs
        return
    [message] = refused(given_).values()
    way = re.findall(r"\d", message)
    assert way[0] == way[-1]
    assert {(int(parent), int(child)) for parent, child in pairwise(way)} <= pairs


def test_large_graphs_are_checked_quickly() -> None:
    chain = {f"n{n}": Node(task="work", depends_on=[f"n{n - 1}"] if n else []) for n in range(MOST_NODES)}
    began = time.process_time()
    assert len(edges(chain)) == MOST_NODES - 1
    unknown = {f"n{n}": Node(task="work", depends_on=[f"m{n}"]) for n in range(MOST_NODES)}
    assert len(refused(unknown)) == MOST_ERRORS
    closed = chain | {"n0": Node(task="work", depends_on=[f"n{MOST_NODES - 1}"])}
    [message] = refused(closed).values()
    assert message.count(" -> ") == MOST_NODES
    # Minutes, were every name compared with every other.
    assert time.process_time() - began < 10


def test_there_is_a_bound_for_dependencies() -> None:
    width = 400
    above = [f"a{n}" for n in range(width)]
    given_ = nodes(**{name: [] for name in above}, **{f"b{n}": above for n in range(MOST_EDGES // width + 1)})
    assert refused(given_) == {"/nodes": f"the nodes have more than {MOST_EDGES} dependencies"}


@pytest.mark.parametrize(
    "body",
    [
        {"nodes": {}},
        {"nodes": {"a b": {"task": "work"}}},
        {"nodes": {"a": {"task": "a b"}}},
        {"nodes": {"a": {"task": "work", "depends_on": "b"}}},
        {"nodes": {"a": {"task": "work", "depends_on": {"b": "maybe"}}}},
        {"nodes": {"a": {"task": "work", "delay_seconds": -1}}},
        {"nodes": {"a": {"task": "work", "colour": "red"}}},
        {"nodes": {"a": {}}},
        {"nodes": {"a": {"task": "work"}}, "colour": "red"},
    ],
)
def test_a_request_that_is_none_is_refused(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, GraphRequest)


# Conditions


def test_what_dependents_see_of_an_end() -> None:
    assert {state: outcome(state) for state in FINAL} == {
        S.COMPLETED: SUCCESS,
        S.FAILED: FAILURE,
        S.DEAD: FAILURE,
        S.CANCELED: None,
        S.SKIPPED: None,
    }
    for state in FINAL:
        assert is_met(ALWAYS, state)
        assert is_met(SUCCESS, state) is (state is S.COMPLETED)
        assert is_met(FAILURE, state) is (state in {S.FAILED, S.DEAD})


# Running again


def jobs(**states: str) -> list[Job]:
    """Jobs whose ids are their names."""
    return [
        Job(
            id=name,
            node=name.upper(),
            kind="work",
            submitted_at=MOMENT,
            run_at=MOMENT,
            state=S(state),
            status=STATUSES[S(state)],
            started_at=None if S(state) in {S.SKIPPED, S.BLOCKED, S.SCHEDULED, S.QUEUED} else MOMENT,
        )
        for name, state in states.items()
    ]


CHAIN = [Edge("a", "b", SUCCESS), Edge("b", "c", SUCCESS)]
JOIN = [Edge("a", "c", SUCCESS), Edge("b", "c", SUCCESS)]


@pytest.mark.parametrize(
    "start, found, links, plan",
    [
        (["a"], jobs(a="failed"), [], {"a": 0}),
        (["a"], jobs(a="failed", b="skipped", c="skipped"), CHAIN, {"a": 0, "b": 1, "c": 1}),
        (["b"], jobs(a="completed", b="dead", c="skipped"), CHAIN, {"b": 0, "c": 1}),
        (["c"], jobs(a="completed", b="completed", c="completed"), CHAIN, {"c": 0}),
        # Asked for itself, it runs whatever became of what it depends on.
        (["b"], jobs(a="failed", b="skipped", c="skipped"), CHAIN, {"b": 0, "c": 1}),
        (["a"], jobs(a="failed", b="completed", c="skipped"), JOIN, {"a": 0, "c": 1}),
        (["a", "b"], jobs(a="failed", b="completed", c="skipped"), JOIN, {"a": 0, "b": 0, "c": 2}),
        # The other one keeps it from running.
        (["a"], jobs(a="failed", b="failed", c="skipped"), JOIN, {"a": 0}),
        # The other one still runs, and is waited for.
        (["a"], jobs(a="failed", b="running", c="skipped"), JOIN, {"a": 0, "c": 2}),
        (["a"], jobs(a="completed", b="canceled"), [Edge("a", "b", FAILURE)], {"a": 0, "b": 1}),
        ([], jobs(a="failed"), [], {}),
    ],
)
def test_what_depends_on_a_job_runs_again_after_it(
    start: list[str], found: list[Job], links: list[Edge], plan: dict[str, int]
) -> None:
    assert rerun_plan(start, found, links) == plan


@pytest.mark.parametrize(
    "start, found, message",
    [
        (["a"], jobs(a="running", b="blocked", c="blocked"), "Job a (A) is running"),
        (["a"], jobs(a="completed", b="retrying", c="blocked"), "Job b (B) is retrying"),
    ],
)
def test_what_has_not_ended_cannot_run_again(start: list[str], found: list[Job], message: str) -> None:
    with pytest.raises(IllegalTransition) as caught:
        rerun_plan(start, found, CHAIN)
    assert str(caught.value) == f"{message}: cancel it, or wait for its end, to run it again"


@given(st.data())
def test_a_plan_leaves_nobody_waiting_for_what_does_not_come(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    names = [str(n) for n in range(size)]
    found = jobs(**{name: data.draw(st.sampled_from(sorted(FINAL))) for name in names})
    pairs = [(parent, child) for child in range(size) for parent in range(child)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    links = [Edge(str(parent), str(child), data.draw(st.sampled_from(On))) for parent, child in chosen]
    start = data.draw(st.sets(st.sampled_from(names), min_size=1))
    plan = rerun_plan(start, found, links)
    by_id = {job.id: job.state for job in found}
    assert start <= plan.keys()
    for name in names:
        before = [edge for edge in links if edge.child == name]
        again = sum(edge.parent in plan for edge in before)
        if name in plan:
            # As many as will end again; all the others have ended already.
            assert plan[name] == again
            assert name in start or again
        else:
            assert not again or any(
                not is_met(edge.on, by_id[edge.parent]) for edge in before if edge.parent not in plan
            )
    order = list(TopologicalSorter({n: [e.parent for e in links if e.child == n] for n in names}).static_order())
    done: dict[str, int] = dict.fromkeys(plan, 0)
    for name in order:
        if name in plan:
            assert done[name] == plan[name]
            for edge in links:
                if edge.parent == name and edge.child in plan:
                    done[edge.child] += 1


# How the whole stands


@pytest.mark.parametrize(
    "found, links, status",
    [
        (jobs(a="queued", b="blocked"), [], JobStatus.PENDING),
        (jobs(a="scheduled"), [], JobStatus.PENDING),
        (jobs(a="running", b="blocked"), [], JobStatus.RUNNING),
        (jobs(a="completed", b="queued"), [], JobStatus.RUNNING),
        (jobs(a="failed", b="retrying"), [], JobStatus.RUNNING),
        (jobs(a="completed", b="completed"), [], JobStatus.COMPLETED),
        (jobs(a="completed", b="skipped"), [], JobStatus.COMPLETED),
        (jobs(a="completed", b="failed"), [], JobStatus.FAILED),
        (jobs(a="dead", b="canceled"), [], JobStatus.FAILED),
        (jobs(a="completed", b="canceled"), [], JobStatus.CANCELED),
        # Somebody was there for the failure.
        (jobs(a="failed", b="completed"), [Edge("a", "b", FAILURE)], JobStatus.COMPLETED),
        (jobs(a="failed", b="failed"), [Edge("a", "b", FAILURE)], JobStatus.FAILED),
        (jobs(a="failed", b="completed"), [Edge("a", "b", ALWAYS)], JobStatus.FAILED),
    ],
)
def test_a_graph_stands_as_its_jobs_do(found: Sequence[Job], links: Sequence[Edge], status: JobStatus) -> None:
    assert status_of(found, links) is status


@given(st.lists(st.sampled_from(JobState), min_size=1, max_size=6))
def test_a_graph_has_ended_when_all_its_jobs_have(states: list[JobState]) -> None:
    found = jobs(**{f"n{number}": state for number, state in enumerate(states)})
    status = status_of(found, [])
    assume(status is not JobStatus.PENDING)
    assert (status is JobStatus.RUNNING) is any(not job.is_final for job in found)
