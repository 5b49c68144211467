"""Graphs as code submits them: in its own transaction, whole, and checked."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from domain.context import Context, acting_as
from domain.errors import InvalidBody, InvalidId, NotFound
from domain.graphs import GraphRequest, Node, On
from domain.jobs import IllegalTransition, JobState, JobStatus
from service.managers.graphs import GraphManager, GraphView
from tests.service.managers.works import Works, queue_name, works

UNKNOWN = "01K00000000000000000000ZZZ"


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        yield opened


@pytest.fixture
def graphs(service: Works) -> GraphManager:
    return service.opened.managers.graphs


@pytest.fixture
def queue() -> str:
    return queue_name()


def request(queue: str, nodes: dict[str, Any], **more: Any) -> GraphRequest:
    """A graph whose nodes are all of one queue."""
    made = {name: {"task": "echo", "queue": queue, **node} for name, node in nodes.items()}
    return msgspec.convert({"nodes": made, **more}, GraphRequest)


def states(view: GraphView) -> dict[str, JobState]:
    return {name: node.state for name, node in view.nodes.items()}


async def rows(service: Works) -> list[int]:
    """How many rows there are in each table."""
    names = ("jobs", "graphs", "job_edges", "job_events")
    return [(await service.engine.fetch(f"SELECT count(*) FROM millrace_{name}"))[0][0] for name in names]


class Abandoned(Exception):
    """Raised to roll back."""


async def test_a_graph_is_part_of_the_transaction_it_is_submitted_in(
    service: Works, graphs: GraphManager, queue: str
) -> None:
    before = await rows(service)
    with suppress(Abandoned):
        async with service.engine.transaction():
            view = await graphs.submit(request(queue, {"a": {}, "b": {"depends_on": ["a"]}}))
            assert states(view) == {"a": JobState.QUEUED, "b": JobState.BLOCKED}
            raise Abandoned
    assert await rows(service) == before
    with pytest.raises(NotFound, match=f"Graph with id {view.id} not found"):
        await graphs.view(view.id)


async def test_a_graph_keeps_who_submitted_it(service: Works, graphs: GraphManager, queue: str) -> None:
    with acting_as(Context(request_id="r-1", principal="ada", tenant="acme")):
        view = await graphs.submit(request(queue, {"a": {}}, label="l"))
    [row] = await service.engine.fetch(
        f"SELECT label, size, trace_id, principal, tenant FROM millrace_graphs WHERE id = '{view.id}'"
    )
    assert tuple(row) == ("l", 1, "r-1", "ada", "acme")
    [job] = await service.store.find_many([view.nodes["a"].job_id])
    assert (job.trace_id, job.principal, job.tenant) == ("r-1", "ada", "acme")


async def test_dependencies_come_from_names_and_from_references(graphs: GraphManager, queue: str) -> None:
    nodes = {
        "a": {},
        "b": {},
        "c": {"depends_on": {"a": "always"}, "args": {"value": {"deep": [{"$ref": "b"}]}}},
        "d": {"depends_on": ["b"], "args": {"value": {"$ref": "b"}}},
    }
    view = await graphs.submit(request(queue, nodes))
    assert view.nodes["c"].depends_on == {"a": On.ALWAYS, "b": On.SUCCESS}
    assert view.nodes["d"].depends_on == {"b": On.SUCCESS}
    assert view.status is JobStatus.PENDING
    await graphs.delete(view.id)


async def test_every_wrong_node_is_named(service: Works, graphs: GraphManager, queue: str) -> None:
    before = await rows(service)
    nodes = {"good": {}, "odd": {"task": "ecko"}, "bad": {"args": {"vale": 1, "valu": 2}}}
    with pytest.raises(InvalidBody) as caught:
        await graphs.submit(request(queue, nodes))
    assert [(error.type, error.pointer) for error in caught.value.errors] == [
        ("unknown_task", "/nodes/odd/task"),
        ("unknown_field", "/nodes/bad/args/vale"),
        ("unknown_field", "/nodes/bad/args/valu"),
    ]
    assert caught.value.errors[1].loc == ("body", "nodes", "bad", "args", "vale")
    assert await rows(service) == before


async def test_no_more_mistakes_are_listed_than_anybody_reads(graphs: GraphManager, queue: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        await graphs.submit(request(queue, {f"n{number}": {"task": "ecko"} for number in range(300)}))
    assert len(caught.value.errors) == 100


async def test_what_is_no_id_and_what_is_not_there(graphs: GraphManager) -> None:
    for operation in (graphs.view, graphs.cancel, graphs.rerun, graphs.delete):
        with pytest.raises(InvalidId, match="Invalid graph ID format: x"):
            await operation("x")
        with pytest.raises(NotFound, match=f"Graph with id {UNKNOWN} not found"):
            await operation(UNKNOWN.lower())


async def test_a_canceled_graph_runs_again_from_what_was_canceled(
    service: Works, graphs: GraphManager, queue: str
) -> None:
    view = await graphs.submit(request(queue, {"a": {}, "b": {"depends_on": ["a"]}, "c": {}}))
    async with service.working(queue):
        for name in "abc":
            await service.reach((await service.store.find_many([view.nodes[name].job_id]))[0], JobState.COMPLETED)
    with pytest.raises(InvalidBody) as caught:
        await graphs.rerun(view.id, "d")
    assert caught.value.errors[0].allowed == ("a", "b", "c")
    # All went well, so there is nothing to do.
    assert (await graphs.rerun(view.id)).status is JobStatus.COMPLETED
    assert states(await graphs.rerun(view.id, "a")) == {
        "a": JobState.QUEUED,
        "b": JobState.BLOCKED,
        "c": JobState.COMPLETED,
    }
    assert set(states(await graphs.cancel(view.id)).values()) == {JobState.CANCELED, JobState.COMPLETED}
    assert states(await graphs.rerun(view.id)) == {
        "a": JobState.QUEUED,
        "b": JobState.BLOCKED,
        "c": JobState.COMPLETED,
    }
    with pytest.raises(IllegalTransition):
        await graphs.rerun(view.id, "a")
    await graphs.delete(view.id)


async def test_a_graph_that_lost_a_job_can_still_be_seen(service: Works, graphs: GraphManager, queue: str) -> None:
    view = await graphs.submit(request(queue, {"a": {}, "b": {"depends_on": ["a"]}}))
    async with service.working(queue):
        await service.reach((await service.store.find_many([view.nodes["b"].job_id]))[0], JobState.COMPLETED)
    await service.opened.managers.jobs.delete(view.nodes["a"].job_id)
    found = await graphs.view(view.id)
    assert (list(found.nodes), found.status) == (["b"], JobStatus.COMPLETED)
    assert states(await graphs.rerun(view.id, "b")) == {"b": JobState.QUEUED}
    await graphs.delete(view.id)


def test_a_node_in_code_is_like_one_in_json() -> None:
    made = GraphRequest(nodes={"a": Node(task="echo"), "b": Node(task="echo", depends_on={"a": On.FAILURE})})
    assert made == msgspec.convert(
        {"nodes": {"a": {"task": "echo"}, "b": {"task": "echo", "depends_on": {"a": "failure"}}}}, GraphRequest
    )
