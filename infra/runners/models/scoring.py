"""The scores of a backtest, from the predictions that its splits have left."""

from typing import Any

import msgspec

from domain.backtest_reports import report_of
from domain.evaluations import BacktestRequest
from domain.forecasts import Forecast, forecast_of
from domain.frames import DataFrame
from domain.model_runs import REQUEST_FILE
from infra.runners.models.contents import write_content
from infra.runners.models.run import ModelRun


def score(run: ModelRun) -> None:
    """Compare every forecast with what came of it, and with what the same season was like in earlier years."""
    request = msgspec.json.decode((run.folder / REQUEST_FILE).read_bytes(), type=BacktestRequest)
    forecasts: dict[tuple[str, str], Forecast] = {}
    for number, part in enumerate(run.call.parts):
        run.job.check()
        run.job.progress(100 * number / len(run.call.parts), step="scoring", message=f"{part.name} after {part.cutoff}")
        assert part.file is not None
        assert part.cutoff is not None
        frame = msgspec.json.decode((run.folder / part.file).read_bytes(), type=DataFrame)
        forecasts[part.name, part.cutoff] = forecast_of(frame, f"{part.name} after {part.cutoff}")
    horizon = run.call.horizon or 1
    report: Any = run.timed(lambda: report_of(request.target, horizon, run.call.cutoffs, forecasts, request.data))
    run.leave(content=write_content(run.folder, "content", msgspec.to_builtins(report)))
