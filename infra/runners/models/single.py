"""One model, in whichever way its author has written it."""

from domain.models import EnsembleRunner, RemoteModelRunner, ShellModelRunner
from infra.runners.models import functions, remote, scripts
from infra.runners.models.run import ModelRun


def train(run: ModelRun) -> None:
    """Train the model of a run."""
    runner = run.runner
    assert not isinstance(runner, EnsembleRunner)
    if isinstance(runner, ShellModelRunner):
        scripts.run_script(run, runner)
    elif isinstance(runner, RemoteModelRunner):
        remote.train(run, runner)
    else:
        functions.train(run, runner)


def predict(run: ModelRun) -> None:
    """Predict with the model of a run."""
    runner = run.runner
    assert not isinstance(runner, EnsembleRunner)
    if isinstance(runner, ShellModelRunner):
        scripts.run_script(run, runner)
    elif isinstance(runner, RemoteModelRunner):
        remote.predict(run, runner)
    else:
        functions.predict(run, runner)
