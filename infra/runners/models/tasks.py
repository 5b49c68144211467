"""The kinds of jobs that models run as."""

from domain.ml import PREDICT, TRAIN
from domain.model_jobs import BACKTEST, ENSEMBLE, EVALUATE
from domain.model_runs import ModelCall
from domain.pipelines import DRAW, PIPELINE, PROMOTE, DrawJob, Gathering, PromoteJob
from domain.tasks import RunningJob, task
from infra.runners.models.gathering import gather
from infra.runners.modules import Module

ACTIONS = Module("infra.runners.models.actions")
"""What the process of a model needs besides these; a service without models never loads it."""


def perform(call: ModelCall, job: RunningJob) -> None:
    """Do what is asked."""
    from infra.runners.models import actions

    actions.perform(call, job)


@task(kind=TRAIN)
def train(call: ModelCall, job: RunningJob) -> None:
    """Train a model."""
    perform(call, job)


@task(kind=PREDICT)
def predict(call: ModelCall, job: RunningJob) -> None:
    """Predict with a trained model."""
    perform(call, job)


@task(kind=ENSEMBLE)
def ensemble(call: ModelCall, job: RunningJob) -> None:
    """Make one model, or one forecast, of those of the members."""
    perform(call, job)


@task(kind=EVALUATE)
def evaluate(call: ModelCall, job: RunningJob) -> None:
    """Try a model on what came after a moment of the past."""
    perform(call, job)


@task(kind=BACKTEST)
def backtest(call: ModelCall, job: RunningJob) -> None:
    """Score the predictions of all splits of a backtest."""
    perform(call, job)


@task(kind="ml.validate")
def validate(call: ModelCall, job: RunningJob) -> None:
    """Have the author's own checks look at a request. This is no job: it is called by whoever answers the request."""
    perform(call, job)


@task(kind=PIPELINE)
def pipeline(given: Gathering) -> None:
    """Get the data of a pipeline; what follows is submitted together with the end of this."""
    gather(given)


@task(kind=PROMOTE)
async def promote(given: PromoteJob) -> None:
    """Promote the best of the candidates. The worker does it around this."""


@task(kind=DRAW)
async def draw(given: DrawJob) -> None:
    """Draw a chart of an artifact. The worker does it around this."""
