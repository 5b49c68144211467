"""Operations on graphs: submit one, see how it stands, cancel it, run parts of it again."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from domain.context import current_context
from domain.entity import new_id, now_utc, parse_id
from domain.errors import MOST_ERRORS, FieldError, InvalidBody, InvalidId, NotFound
from domain.graphs import Edge, Graph, GraphRequest, Node, On, edges, status_of
from domain.jobs import Job, JobState, JobStatus, NewJob
from domain.ports import Repository
from domain.submissions import Submission, new_job
from domain.tasks import REFERENCE, Task, Tasks, references, resolved
from domain.validation import problem, rejected
from service.managers.jobs import Jobs


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a graph as it stands."""

    job_id: str
    kind: str
    status: JobStatus
    state: JobState
    depends_on: dict[str, On]
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    result_ref: str | None


class GraphView(msgspec.Struct, frozen=True, kw_only=True):
    """A graph with all its nodes, by name; `counts` says how many are in each state."""

    id: str
    label: str | None
    tags: list[str]
    status: JobStatus
    submitted_at: datetime
    counts: dict[str, int]
    nodes: dict[str, NodeView]


class GraphManager:
    """The graphs of a service. Methods raise `NotFound`, `InvalidId`, `InvalidBody`, `Conflict` and `Unavailable`."""

    def __init__(self, jobs: Jobs, documents: Repository[Graph]) -> None:
        self._jobs = jobs
        self._documents = documents

    async def submit(self, request: GraphRequest) -> GraphView:
        """Submit what a client has asked for: all of it, or nothing when anything in it is wrong."""
        await self.check_room(len(request.nodes))
        return await self.add(request, {name: new_id() for name in request.nodes}, self._jobs.tasks.offered)

    async def check_room(self, count: int) -> None:
        """Raise `TooManyRequests` when so many more jobs may not wait."""
        await self._jobs.room.take(count)

    async def add(
        self,
        request: GraphRequest,
        ids: Mapping[str, str],
        tasks: Tasks | None = None,
        *,
        graph_id: str | None = None,
    ) -> GraphView:
        """Submit a graph of any of `tasks` (all there are); `ids` are those of the jobs, by node."""
        depends = edges(request.nodes)
        graph_id = graph_id or new_id()
        made = self._new_jobs(request.nodes, depends, ids, graph_id, self._jobs.tasks if tasks is None else tasks)
        context = current_context()
        graph = Graph(
            id=graph_id,
            label=request.label,
            submitted_at=now_utc(),
            size=len(made),
            trace_id=context.request_id or None,
            principal=context.principal,
            tenant=context.tenant,
        )
        found = [Edge(ids[edge.parent], ids[edge.child], edge.on) for edge in depends]
        async with self._jobs.store.transaction():
            await self._jobs.ring(await self._jobs.store.insert_graph(graph, made, found))
            # Before the commit: the reply says what was submitted, and not how far workers have come meanwhile.
            return await self.view(graph_id)

    def _new_jobs(
        self, nodes: Mapping[str, Node], depends: Sequence[Edge], ids: Mapping[str, str], graph_id: str, tasks: Tasks
    ) -> list[NewJob]:
        waits = dict.fromkeys(nodes, 0)
        for edge in depends:
            waits[edge.child] += 1
        made: list[NewJob] = []
        errors: list[FieldError] = []
        for name, node in nodes.items():
            try:
                made.append(_new_job(tasks.get(node.task), name, node, ids, graph_id=graph_id, waits_for=waits[name]))
            except NotFound as error:
                errors.append(problem("unknown_task", error.detail, ("nodes", name, "task"), node.task, tasks.kinds))
            except InvalidBody as error:
                errors += [_within(name, inner) for inner in error.errors]
            if len(errors) >= MOST_ERRORS:
                break
        if errors:
            raise rejected(errors)
        return made

    async def view(self, id: str) -> GraphView:
        """A graph with the states of its nodes."""
        graph = await self._graph(id)
        jobs, found = await self._jobs.store.of_graph(graph.id), await self._jobs.store.edges_of(graph.id)
        names = {job.id: job.node or job.id for job in jobs}
        depends: dict[str, dict[str, On]] = {job.id: {} for job in jobs}
        for edge in found:
            depends[edge.child][names.get(edge.parent, edge.parent)] = edge.on
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.state] = counts.get(job.state, 0) + 1
        return GraphView(
            id=graph.id,
            label=graph.label,
            tags=graph.tags,
            status=status_of(jobs, found),
            submitted_at=graph.submitted_at,
            counts=counts,
            nodes={names[job.id]: _view(job, depends[job.id]) for job in jobs},
        )

    async def cancel(self, id: str) -> GraphView:
        """Cancel every node that has not ended."""
        graph = await self._graph(id)
        # Locked, or nodes that somebody lets run again at the same time would go on.
        async with self._jobs.store.transaction():
            jobs = await self._jobs.store.of_graph(graph.id, lock=True)
            await self._jobs.cancel_all([job.id for job in jobs if not job.is_final])
        return await self.view(graph.id)

    async def rerun(self, id: str, node: str | None = None) -> GraphView:
        """Let a node and everything behind it run again; without `node` all that failed or was canceled."""
        graph = await self._graph(id)
        jobs = await self._jobs.store.of_graph(graph.id)
        if node is not None:
            start = [job.id for job in jobs if job.node == node]
            if not start:
                names = tuple(job.node for job in jobs if job.node is not None)
                raise rejected(
                    [problem("unknown_node", f'the graph has no node "{node}"', ("node",), node, names[:20])]
                )
        else:
            broken = {JobState.FAILED, JobState.DEAD, JobState.CANCELED}
            start = [job.id for job in jobs if job.state in broken]
        if start:
            await self._jobs.rerun(graph.id, start)
        return await self.view(graph.id)

    async def delete(self, id: str) -> None:
        """Cancel a graph and remove it with all its jobs."""
        graph = await self._graph(id)
        async with self._jobs.store.transaction():
            jobs = [job.id for job in await self._jobs.store.of_graph(graph.id, lock=True)]
            await self._jobs.cancel_all(jobs, is_at_once=True)
            await self._jobs.store.delete(jobs)

    async def _graph(self, id: str) -> Graph:
        identifier = _id(id)
        graph = await self._documents.find(identifier)
        if graph is None:
            raise NotFound(f"Graph with id {identifier} not found")
        return graph


def _new_job(task: Task, name: str, node: Node, ids: Mapping[str, str], *, graph_id: str, waits_for: int) -> NewJob:
    links = {other: {REFERENCE: f"job:{ids[other]}"} for other in references(node.args)}
    submission = Submission(
        args=resolved(node.args, links),
        label=node.label,
        tags=node.tags,
        queue=node.queue,
        priority=node.priority,
        delay_seconds=node.delay_seconds,
        timeout_seconds=node.timeout_seconds,
        unique_key=node.unique_key,
    )
    more = {"id": ids[name], "graph_id": graph_id, "node": name, "waits_for": waits_for}
    return new_job(task, submission, current_context(), **more)


def _id(text: str) -> str:
    identifier = parse_id(text)
    if identifier is None:
        raise InvalidId(f"Invalid graph ID format: {text[:100]}")
    return identifier


def _within(name: str, error: FieldError) -> FieldError:
    """An error of a submission as one of the node it stands in."""
    inner = error.loc[1:]
    pointer = f"/nodes/{name}{error.pointer or ''}"
    return msgspec.structs.replace(error, loc=("body", "nodes", name, *inner), pointer=pointer)


def _view(job: Job, depends_on: dict[str, On]) -> NodeView:
    return NodeView(
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        state=job.state,
        depends_on=depends_on,
        attempt=job.attempt,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error,
        result_ref=job.result_ref,
    )
