"""`/api/v1/tasks`: what can be run, and the door to run it."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_202_ACCEPTED

from domain.jobs import JobStatus
from domain.submissions import Submission
from domain.tasks import Task
from service.http.body import read_body
from service.http.crud import location
from service.http.documented import documents
from service.http.query import no_parameters
from service.http.reply import encoded
from service.http.running import Running

AnyRequest = Request[Any, Any, Any]


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task as clients see it; `args` is the JSON Schema of its arguments."""

    name: str
    description: str
    queue: str
    priority: int
    retries: int
    timeout_seconds: float | None
    is_process: bool
    args: dict[str, Any]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The job that was submitted; `is_duplicate` says that it was there before, with the same unique key."""

    job_id: str
    status: JobStatus
    message: str
    is_duplicate: bool = False


def tasks_router(prefix: str, jobs_prefix: str, running: Running, tags: list[str]) -> Router:
    """The routes of tasks under `prefix`; jobs are under `jobs_prefix`."""

    @get("/", summary="The tasks there are", operation_id="tasks_find_all", opt=documents())
    async def find_all(request: AnyRequest) -> Response[list[TaskView]]:
        no_parameters(request.scope)
        return encoded([_view(task) for task in running.background.tasks.offered])

    @get("/{name:str}", summary="One task", operation_id="tasks_find", opt=documents(errors=["404"]))
    async def find(request: AnyRequest, name: FromPath[str]) -> Response[TaskView]:
        no_parameters(request.scope)
        return encoded(_view(running.background.tasks.offered.get(name)))

    taken = documents(
        body=Submission, is_body_optional=True, example={"args": {}}, errors=["404", "409"], has_location=True
    )

    @post(
        "/{name:str}/$execute",
        status_code=HTTP_202_ACCEPTED,
        summary="Run a task in the background",
        operation_id="tasks_execute",
        opt=taken,
    )
    async def execute(request: AnyRequest, name: FromPath[str]) -> Response[Accepted]:
        no_parameters(request.scope)
        running.background.tasks.offered.get(name)
        submission = await read_body(request, Submission, is_optional=True)
        submitted = await running.background.jobs.execute(name, submission)
        job = submitted.job
        message = "This job is there already" if submitted.is_duplicate else "Job submitted"
        accepted = Accepted(
            job_id=job.id,
            status=job.status,
            message=f"{message}. Job ID: {job.id}",
            is_duplicate=submitted.is_duplicate,
        )
        return encoded(accepted, {"location": location(request, f"{jobs_prefix}/{job.id}")})

    return Router(path=prefix, route_handlers=[find_all, find, execute], tags=tags)


def _view(task: Task) -> TaskView:
    return TaskView(
        name=task.kind,
        description=task.description,
        queue=task.queue,
        priority=task.priority,
        retries=task.retry_policy.retries,
        timeout_seconds=task.timeout_seconds,
        is_process=task.is_process,
        args=_schema(task),
    )


def _schema(task: Task) -> dict[str, Any]:
    if task.args is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    (top,), definitions = msgspec.json.schema_components([task.args], ref_template="#/$defs/{name}")
    own = definitions.pop(str(top["$ref"]).rsplit("/", 1)[1])
    return {**own, "additionalProperties": False, **({"$defs": definitions} if definitions else {})}
