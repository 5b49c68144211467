"""`millrace test`: drive a running service around a model from one end to the other, and say what works."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import typer

from domain.entity import new_id
from domain.frames import SampleOptions, sample_config, sample_predict, sample_train
from service.cli.output import Failed, say
from service.cli.remote import LOCAL, Remote, UrlOption

PLACES = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
_FINAL = {"completed", "failed", "canceled"}


def drive(
    url: UrlOption = LOCAL,
    configs: Annotated[int, typer.Option("--configs", "-c", min=1, help="How many configurations.")] = 1,
    trainings: Annotated[int, typer.Option("--trainings", "-t", min=1, help="How many trainings of each.")] = 1,
    predictions: Annotated[int, typer.Option("--predictions", "-p", min=0, help="How many of each training.")] = 1,
    rows: Annotated[int, typer.Option("--rows", "-r", min=PLACES, help="Rows to train with.")] = 250,
    predict_rows: Annotated[int, typer.Option(min=PLACES, help="Rows that came before a prediction.")] = 150,
    timeout: Annotated[float, typer.Option(help="Seconds that one job may take.", min=1)] = 60.0,
    period_type: Annotated[str | None, typer.Option(help="monthly or weekly.", show_default=False)] = None,
    geo_type: Annotated[str, typer.Option(help="polygon or point.")] = "polygon",
    seed: Annotated[int, typer.Option(help="Of the made up data; below 0 it is different each time.")] = -1,
    is_verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say every step.")] = False,
) -> None:
    """Train and predict with a running service, as an orchestrator would; exit code 1 when anything fails."""
    if period_type not in {None, "monthly", "weekly"} or geo_type not in {"polygon", "point"}:
        raise Failed("--period-type is monthly or weekly, --geo-type polygon or point", 2)
    with Remote(url) as remote:
        trial = _Trial(remote, timeout, is_verbose)
        trial.meet(period_type, geo_type, seed)
        for number in range(configs):
            config = trial.configure(number)
            for _ in range(trainings):
                artifact = trial.train(config, rows // PLACES)
                for _ in range(predictions if artifact else 0):
                    trial.predict(str(artifact), predict_rows // PLACES)
    say(f"{trial.passed} steps passed, {len(trial.failures)} failed")
    for failure in trial.failures:
        say(f"failed: {failure}", "bold red")
    if trial.failures:
        raise typer.Exit(1)
    say("ALL TESTS PASSED", "bold green")


class _Trial:
    """One walk through a service, and how it went."""

    def __init__(self, remote: Remote, timeout_seconds: float, is_verbose: bool) -> None:
        self.passed = 0
        self.failures: list[str] = []
        self._remote = remote
        self._timeout_seconds = timeout_seconds
        self._is_verbose = is_verbose
        self._options = SampleOptions()
        self._schema: dict[str, Any] = {}
        self._bounds = (0, 100)

    def meet(self, period_type: str | None, geo_type: str, seed: int) -> None:
        """Ask whether it is well and what it needs. Raises `Failed` when there is no use in going on."""
        health = self._remote.ask("GET", "/health")
        if health.get("status") != "healthy":
            raise Failed(f"the service is not healthy: {health}")
        info = self._remote.ask("GET", "/api/v1/info")
        self._schema = self._remote.ask("GET", "/api/v1/configs/$schema")
        self._bounds = (info.get("min_prediction_periods", 0), info.get("max_prediction_periods", 100))
        period = period_type or ("weekly" if info.get("period_type") == "weekly" else "monthly")
        given = {
            "num_locations": PLACES,
            "required_covariates": info.get("required_covariates", []),
            "period_type": period,
            "geo_type": geo_type,
            "include_geo": bool(info.get("requires_geo")),
            "seed": seed,
        }
        self._options = msgspec.convert(given, SampleOptions)
        self._done(f"met {info.get('display_name')} ({info.get('id')} {info.get('version')})")

    def configure(self, number: int) -> str:
        """Make a configuration that fits the schema. Raises `Failed`."""
        data = sample_config(self._schema, number, id=new_id())
        low, high = self._bounds
        data["prediction_periods"] = max(min(int(data.get("prediction_periods") or 3), high), low, 1)
        body = {"name": f"test_{new_id()}", "data": data}
        made = self._remote.ask("POST", "/api/v1/configs", 200, 201, json=body)
        missing = [name for name, value in data.items() if made["data"].get(name) != value]
        if missing:
            self.failures.append(f"the configuration did not keep {', '.join(missing)}")
        self._done(f"made configuration {made['id']}")
        return str(made["id"])

    def train(self, config: str, periods: int) -> str | None:
        """Have the model trained; the artifact, or None."""
        options = msgspec.structs.replace(self._options, num_periods=max(periods, 1))
        body = msgspec.to_builtins(sample_train(options, config))
        return self._step("training", lambda: self._run("train", body))

    def predict(self, artifact: str, periods: int) -> None:
        """Have it predict, and look at what it says."""
        low, high = self._bounds
        horizon = max(min(3, high), low, 1)
        options = msgspec.structs.replace(self._options, num_periods=max(periods, 1), num_future_periods=horizon)
        body = msgspec.to_builtins(sample_predict(options))
        asked = {"artifact_id": artifact, **body, "run_info": {"prediction_periods": horizon}}

        def work() -> str:
            found = self._remote.ask("GET", f"/api/v1/artifacts/{self._run('predict', asked)}")
            if "id" not in found or "data" not in found:
                raise Failed("the prediction has no id or no data")
            return str(found["id"])

        self._step("prediction", work)

    def _run(self, kind: Literal["train", "predict"], body: dict[str, Any]) -> str:
        """Validate, submit, and wait for the end; the artifact. Raises `Failed`."""
        reply = self._remote.send("POST", "/api/v1/ml/$validate", json={"type": kind, **body})
        if reply.status_code != 404:
            if reply.status_code != 200:
                raise Failed(f"$validate answered {reply.status_code}: {reply.text[:300]}")
            if not (found := reply.json())["valid"]:
                raise Failed(f"$validate found: {found['diagnostics']}")
        accepted = self._remote.ask("POST", f"/api/v1/ml/${kind}", 202, json=body)
        if lacking := {"job_id", "artifact_id", "message"} - accepted.keys():
            raise Failed(f"the reply of ${kind} lacks {', '.join(sorted(lacking))}")
        self._wait(accepted["job_id"])
        return str(accepted["artifact_id"])

    def _wait(self, job: str) -> None:
        pause, deadline = FIRST_PAUSE_SECONDS, time.monotonic() + self._timeout_seconds
        while (found := self._remote.ask("GET", f"/api/v1/jobs/{job}"))["status"] not in _FINAL:
            if time.monotonic() > deadline:
                raise Failed(f"job {job} is {found['status']} after {self._timeout_seconds:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        if found["status"] != "completed":
            raise Failed(f"job {job} is {found['status']}: {found.get('error')}")

    def _step(self, what: str, work: Callable[[], str]) -> str | None:
        try:
            made = work()
        except Failed as error:
            self.failures.append(f"{what}: {error}")
            return None
        self._done(f"{what} made artifact {made}")
        return made

    def _done(self, what: str) -> None:
        self.passed += 1
        if self._is_verbose:
            say(what)
