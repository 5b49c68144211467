"""The kinds of jobs that models run as."""

from domain.ml import PREDICT, TRAIN
from domain.model_runs import ModelCall
from domain.tasks import RunningJob, task
from infra.runners.models.runs import perform


@task(kind=TRAIN)
def train(call: ModelCall, job: RunningJob) -> None:
    """Train a model."""
    perform(call, job)


@task(kind=PREDICT)
def predict(call: ModelCall, job: RunningJob) -> None:
    """Predict with a trained model."""
    perform(call, job)


@task(kind="ml.validate")
def validate(call: ModelCall, job: RunningJob) -> None:
    """Have the author's own checks look at a request. This is no job: it is called by whoever answers the request."""
    perform(call, job)
