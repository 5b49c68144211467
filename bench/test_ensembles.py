"""What ensembles promise: ten members of ten million samples each, in little more memory than they have themselves."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.budgets import (
    ENSEMBLE,
    ENSEMBLE_MEMBERS,
    ENSEMBLE_ROWS,
    ENSEMBLE_SAMPLES,
    FORECAST_READ,
    JOINED,
    JOINED_ROWS,
    JOINED_SAMPLES,
)
from bench.holding import hold
from bench.results import Figure

SCRIPT = """
import resource, sys, time
import numpy as np
from domain.ensembles.combining import combine
from domain.ensembles.strategies import Strategy
from domain.forecasts import Forecast, ForecastKind, forecast_of
kind, members, rows, samples = sys.argv[1], *map(int, sys.argv[2:])
keys = [(f"{row:05}", "a") for row in range(rows)]
labels = tuple(f"sample_{index}" for index in range(samples))
chance = np.random.default_rng(1)

def member():
    return Forecast(kind=ForecastKind.SAMPLE, keys=keys, labels=labels, values=chance.normal(size=(rows, samples)))

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

if kind == "read":
    # It stays, so that the forecast cannot be put where it was.
    source = member()
    frame = source.to_frame()
    before, began = most(), time.perf_counter()
    made = forecast_of(frame).values
else:
    given = {f"m{index}": member() for index in range(members)}
    arrays = [one.values for one in given.values()]
    # What is imported late is no part of it.
    row = Forecast(kind=ForecastKind.SAMPLE, keys=keys[:1], labels=labels, values=arrays[0][:1])
    combine({"a": row}, Strategy.MEAN)
    before, began = most(), time.perf_counter()
    if kind == "plain":
        made = np.mean(np.sort(np.stack(arrays), axis=2), axis=0)
    else:
        made = combine(given, Strategy(kind)).values
seconds, added = time.perf_counter() - began, most() - before
if kind == "quantile_average":
    by_hand = np.mean([np.sort(array[-7:], axis=1) for array in arrays], axis=0)
    np.testing.assert_allclose(np.sort(made[-7:], axis=1), by_hand)
assert made.shape == (rows, samples)
print(seconds, added / made.nbytes)
"""

JOB = """
import sys, tempfile, threading, time
from pathlib import Path
import msgspec
from domain.configs import BaseConfig, ConfigSchema
from domain.frames import DataFrame
from domain.model_runs import Action, ModelCall, PartFile
from domain.models import EnsembleRunner, FunctionalModelRunner
from domain.tasks import RunningJob
from infra.runners.models.ensembles import combine_predictions
from infra.runners.models.program import ModelProgram
from infra.runners.models.run import ModelRun
members, rows, samples = map(int, sys.argv[1:])

def held():
    # What a file stands behind can be let go of at any time.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

def watch():
    global peak
    while not is_over.wait(0.002):
        peak = max(peak, held())

with tempfile.TemporaryDirectory() as folder:
    columns = ["time_period", "location", *(f"sample_{index}" for index in range(samples))]
    data = [[f"{2000 + row}", "a", *map(float, range(samples))] for row in range(rows)]
    (Path(folder) / "forecast").write_bytes(DataFrame(columns, data).encode())
    del data
    names = [f"m{index}" for index in range(members)]
    runner = EnsembleRunner(dict.fromkeys(names, FunctionalModelRunner(print, print)), "mean")
    parts = [PartFile(name=name, artifact_id=name, file="forecast") for name in names]
    call = ModelCall(
        action=Action.COMBINE, directory=folder, program=b"", config={}, config_id="", artifact_id="", parts=parts
    )
    job = RunningJob(id="job", kind="k", attempt=1, max_attempts=1, send=lambda _: None)
    run = ModelRun(call, job, ModelProgram(runner, ConfigSchema(BaseConfig)))
    peak, is_over, before = 0, threading.Event(), held()
    watching = threading.Thread(target=watch)
    watching.start()
    combine_predictions(run)
    is_over.set()
    watching.join()
    assert len(msgspec.json.decode((Path(folder) / "content").read_bytes(), type=DataFrame)) == rows
    print(peak - before)
"""


async def test_the_job_that_combines_holds_the_numbers_of_one_member_at_a_time() -> None:
    async def measure() -> Sequence[Figure]:
        two, ten = (int(_written(JOB, members, JOINED_ROWS, JOINED_SAMPLES)) for members in (2, 10))
        return [Figure(JOINED, ten / two, f"{ten / 2**20:.0f} MiB, of two members {two / 2**20:.0f} MiB")]

    await hold(measure)


async def test_ten_members_are_combined_in_the_memory_of_few_of_them() -> None:
    async def measure() -> Sequence[Figure]:
        plain_seconds, plain_memory = _alone("plain")
        figures = []
        for strategy, (time_promise, memory_promise) in ENSEMBLE.items():
            seconds, memory = _alone(strategy)
            beside = f"{seconds:.1f} s, numpy on whole arrays {plain_seconds:.1f} s"
            figures.append(Figure(time_promise, seconds / plain_seconds, beside))
            figures.append(Figure(memory_promise, memory, f"numpy on whole arrays {plain_memory:.1f} x"))
        seconds, memory = _alone("read")
        return [*figures, Figure(FORECAST_READ, memory, f"{seconds:.1f} s")]

    await hold(measure)


def _alone(kind: str) -> tuple[float, float]:
    """Seconds, and the memory added at most by that of one member's array, in a process that does nothing else."""
    written = _written(SCRIPT, kind, ENSEMBLE_MEMBERS, ENSEMBLE_ROWS, ENSEMBLE_SAMPLES)
    seconds, memory = map(float, written.split())
    return seconds, memory


def _written(script: str, *arguments: object) -> str:
    """What a script says in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
