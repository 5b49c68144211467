"""Puts together the transformations of a service."""

from domain.transformations.requests import Requests
from service.choices import Choices
from service.http.running import Running
from service.managers.transformations import Transformations
from service.replying import kept_tables
from service.routes import TransformationPlan


def transformation_plan(choices: Choices, running: Running) -> TransformationPlan | None:
    """What `with_transformations` was told, as routes. Raises `Misconfigured` for an example that is no request."""
    plan = choices.transformations
    if plan is None:
        return None
    readable = [item.resource.name for item in choices.resources if item.permissions.read]
    has_frames = choices.artifacts is not None and choices.artifacts.permissions.read
    requests = [Requests(item, has_frames=has_frames, resources=readable) for item in plan.items]
    for item in requests:
        item.check_examples()
    made = Transformations(
        requests,
        running,
        path=plan.path,
        threads=plan.max_threads,
        most_rows=plan.max_rows,
        tables=kept_tables(choices),
    )
    return TransformationPlan(path=plan.path, transformations=made, tags=plan.tags)
