"""The run that a model is in."""

import contextvars

from domain.tasks import RunningJob

current_run: contextvars.ContextVar[RunningJob | None] = contextvars.ContextVar("current_run", default=None)


def running_job() -> RunningJob:
    """The job that trains or predicts at the moment: report progress to it, write to its log, ask whether to stop.

    Raises `LookupError` outside of a run.
    """
    job = current_run.get()
    if job is None:
        raise LookupError("no model runs here: running_job() is for on_train, on_predict and what they call")
    return job
