"""Graphs: jobs that depend on each other, submitted together, all or none."""

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.entity import Entity, Tags
from domain.errors import MOST_ERRORS, FieldError
from domain.jobs import IllegalTransition, Job, JobState, JobStatus, Key, Label, Name, Priority, TimeoutSeconds
from domain.query import Resource
from domain.query.resource import suggestion
from domain.tasks import REFERENCE, references
from domain.validation import problem, rejected

MOST_NODES = 10_000
MOST_EDGES = 100_000


class On(enum.StrEnum):
    """How a job must have ended for one that depends on it to run."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job of a graph: its task, and what it depends on.

    `depends_on` is a list of names, each of which must succeed, or an object from name to `success`, `failure` or
    `always`. Arguments may hold `{"$ref": "name"}` for the result of another node, which makes it a dependency.
    """

    task: Name
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    depends_on: list[Name] | dict[Name, On] = msgspec.field(default_factory=list)
    label: Label | None = None
    queue: Name | None = None
    priority: Priority | None = None
    timeout_seconds: TimeoutSeconds | None = None
    delay_seconds: Annotated[float, Meta(ge=0, le=31_536_000)] | None = None
    unique_key: Key | None = None
    tags: Tags = msgspec.field(default_factory=list)


class GraphRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that submits a graph: its nodes by name."""

    nodes: Annotated[dict[Name, Node], Meta(min_length=1, max_length=MOST_NODES)]
    label: Label | None = None


class Graph(Entity, kw_only=True):
    """A graph as it was submitted; `size` is the number of its nodes."""

    label: Label | None = None
    submitted_at: datetime
    size: int = 0
    trace_id: Annotated[str, Meta(max_length=128)] | None = None
    principal: Annotated[str, Meta(max_length=200)] = "anonymous"
    tenant: Annotated[str, Meta(max_length=200)] = "default"


GRAPHS: Resource[Graph] = Resource(Graph, "graphs", hidden={"created_at"}, is_newest_first=True)
"""What clients may ask of graphs."""


class Edge(msgspec.Struct, frozen=True):
    """`child` runs once `parent` has ended as `on` says."""

    parent: str
    child: str
    on: On


def edges(nodes: Mapping[str, Node]) -> list[Edge]:
    """What depends on what, declared or referred to. Raises `InvalidBody` for unknown names, contradictions, cycles."""
    errors: list[FieldError] = []
    found: list[Edge] = []
    for name, node in nodes.items():
        wanted = dict(_declared(node))
        for reference in dict.fromkeys(references(node.args)):
            if wanted.setdefault(reference, On.SUCCESS) is not On.SUCCESS:
                message = f'"{name}" refers to the result of "{reference}" and does not depend on its success'
                errors.append(problem("conflict", message, ("nodes", name, "args"), {REFERENCE: reference}))
        for parent, on in wanted.items():
            if parent not in nodes:
                # To look for what was meant takes its time where there are thousands.
                near = suggestion(parent, nodes) if len(errors) < 3 else ""
                message = f'"{name}" depends on "{parent}", which is no node{near}'
                errors.append(
                    problem("unknown_node", message, ("nodes", name, "depends_on"), parent, tuple(nodes)[:20])
                )
            found.append(Edge(parent, name, on))
        if len(errors) >= MOST_ERRORS:
            break
    if len(found) > MOST_EDGES:
        errors.append(problem("too_many", f"the nodes have more than {MOST_EDGES} dependencies", ("nodes",), None))
    if errors:
        raise rejected(errors)
    _check_acyclic(nodes, found)
    return found


def _declared(node: Node) -> Iterator[tuple[str, On]]:
    if isinstance(node.depends_on, Mapping):
        yield from node.depends_on.items()
    else:
        for name in node.depends_on:
            yield name, On.SUCCESS


def _check_acyclic(nodes: Mapping[str, Node], found: Iterable[Edge]) -> None:
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(nodes, ()))
    for edge in found:
        sorter.add(edge.child, edge.parent)
    try:
        sorter.prepare()
    except CycleError as error:
        path: list[str] = error.args[1]
        way = " -> ".join(path)
        raise rejected(
            [problem("cycle", f"the nodes depend on each other in a circle: {way}", ("nodes", path[0]), way)]
        ) from None


def parts_of(id: str, found: Iterable[Edge]) -> set[str]:
    """Everything that a job depends on, directly or not."""
    parents: dict[str, list[str]] = {}
    for edge in found:
        parents.setdefault(edge.child, []).append(edge.parent)
    parts: set[str] = set()
    pending = [id]
    while pending:
        new = [parent for parent in parents.get(pending.pop(), ()) if parent not in parts]
        parts.update(new)
        pending += new
    return parts


def outcome(state: JobState) -> On | None:
    """What dependents see of an ended job: a success, a failure, or neither (canceled, skipped)."""
    if state is JobState.COMPLETED:
        return On.SUCCESS
    return On.FAILURE if state in {JobState.FAILED, JobState.DEAD} else None


def is_met(on: On, state: JobState) -> bool:
    """Whether a dependency is satisfied by a job that ended in `state`; if not, it never will be."""
    return on is On.ALWAYS or on is outcome(state)


def rerun_plan(start: Collection[str], jobs: Sequence[Job], found: Sequence[Edge]) -> dict[str, int]:
    """The jobs that run again when `start` do, each with how many others it waits for.

    Everything that depends on `start` runs again too, except for what some other job, which has ended and stays as it
    is, keeps from running. `found` names jobs by id. Raises `IllegalTransition` for a job that has not ended.
    """
    by_id = {job.id: job for job in jobs}
    parents: dict[str, list[Edge]] = {id: [] for id in by_id}
    for edge in found:
        parents[edge.child].append(edge)
    waits: dict[str, int] = {}
    for id in TopologicalSorter(
        {id: [edge.parent for edge in before] for id, before in parents.items()}
    ).static_order():
        again = sum(edge.parent in waits for edge in parents[id])
        others = [edge for edge in parents[id] if edge.parent not in waits]
        ended = [(edge, by_id[edge.parent].state) for edge in others if by_id[edge.parent].is_final]
        if id in start or (again and all(is_met(edge.on, state) for edge, state in ended)):
            waits[id] = again + len(others) - len(ended)
    for id in waits:
        if not by_id[id].is_final:
            raise IllegalTransition(
                f"Job {id} ({by_id[id].node}) is {by_id[id].state}: cancel it, or wait for its end, to run it again"
            )
    return waits


def status_of(jobs: Sequence[Job], found: Sequence[Edge]) -> JobStatus:
    """How a graph stands: running while any node may still run, failed when a failure was left unhandled."""
    if any(not job.is_final for job in jobs):
        started = any(job.started_at is not None for job in jobs)
        return JobStatus.RUNNING if started else JobStatus.PENDING
    handled = {edge.parent for edge in found if edge.on is On.FAILURE}
    if any(outcome(job.state) is On.FAILURE and job.id not in handled for job in jobs):
        return JobStatus.FAILED
    return JobStatus.CANCELED if any(job.state is JobState.CANCELED for job in jobs) else JobStatus.COMPLETED
