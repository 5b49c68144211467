"""The author's own checks of a request."""

from typing import Any

import msgspec

from domain.ml import Diagnostic, PredictRequest, TrainRequest
from domain.models import EnsembleRunner, RemoteModelRunner
from infra.runners.models.functions import called
from infra.runners.models.run import ModelRun


def validate(run: ModelRun) -> None:
    """Have the author look at a request, of an ensemble the authors of all chosen members."""
    request = run.request()
    config, _ = run.config(request)
    runner = run.runner
    if not isinstance(runner, EnsembleRunner):
        run.leave(diagnostics=run.timed(lambda: _found(run, config, request)))
        return
    found: list[Diagnostic] = []
    for name in runner.chosen(getattr(config, "members", [])):
        member = run.nested(f"checks/{name}", run.call.action, member=name)
        found += [
            msgspec.structs.replace(diagnostic, message=f"{name}: {diagnostic.message}")
            for diagnostic in _found(member, config, request)
        ]
    run.leave(diagnostics=found)


def _found(run: ModelRun, config: Any, request: TrainRequest | PredictRequest) -> list[Diagnostic]:
    runner: Any = run.runner
    if isinstance(runner, RemoteModelRunner):
        # The other service looks at it when it is asked to do it.
        return []
    if isinstance(request, TrainRequest):
        check: Any = runner.on_validate_train
        arguments: tuple[Any, ...] = (config, request.data, request.geo)
    else:
        check = runner.on_validate_predict
        arguments = (config, request.historic, request.future, request.geo)
    found = called(run, lambda: check(*arguments)) if check is not None else []
    return msgspec.convert(msgspec.to_builtins(found or []), list[Diagnostic])
