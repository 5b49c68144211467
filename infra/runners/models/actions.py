"""What the process of a model may be told to do."""

from collections.abc import Callable

from domain.model_runs import Action, ModelCall
from domain.models import EnsembleRunner, current_run
from domain.tasks import RunningJob
from infra.runners.models import checks, single
from infra.runners.models.evaluation import evaluate
from infra.runners.models.run import ModelRun


def perform(call: ModelCall, job: RunningJob) -> None:
    """Do what is asked, and leave a `ModelOutcome` and the files it names in the directory."""
    current_run.set(job)
    _WORK[call.action](ModelRun(call, job))


def _train(run: ModelRun) -> None:
    if isinstance(run.runner, EnsembleRunner):
        from infra.runners.models.ensembles import train_members

        train_members(run)
    else:
        single.train(run)


def _predict(run: ModelRun) -> None:
    if isinstance(run.runner, EnsembleRunner):
        from infra.runners.models.ensembles import predict_members

        predict_members(run)
    else:
        single.predict(run)


def _join(run: ModelRun) -> None:
    from infra.runners.models.ensembles import join_trainings

    join_trainings(run)


def _combine(run: ModelRun) -> None:
    from infra.runners.models.ensembles import combine_predictions

    combine_predictions(run)


def _score(run: ModelRun) -> None:
    from infra.runners.models.scoring import score

    score(run)


# What needs numpy is imported where it is used: a model that is alone may do without.
_WORK: dict[Action, Callable[[ModelRun], None]] = {
    Action.TRAIN: _train,
    Action.PREDICT: _predict,
    Action.VALIDATE_TRAIN: checks.validate,
    Action.VALIDATE_PREDICT: checks.validate,
    Action.JOIN_TRAININGS: _join,
    Action.COMBINE: _combine,
    Action.EVALUATE: lambda run: evaluate(run, _train, _predict),
    Action.SCORE: _score,
}
