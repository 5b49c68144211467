"""What a model author brings: two functions, a class, or two commands."""

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from domain.errors import Misconfigured
from domain.frames import DataFrame, FeatureCollection
from domain.ml import Diagnostic
from domain.tasks import RunningJob

CONFIG_FORMATS = ("flat", "chap_core")
DERIVED = ("year", "month", "week")
"""What an adapter can derive from the column `time_period`."""

current_run: contextvars.ContextVar[RunningJob | None] = contextvars.ContextVar("current_run", default=None)


def running_job() -> RunningJob:
    """The job that trains or predicts at the moment: report progress to it, write to its log, ask whether to stop.

    Raises `LookupError` outside of a run.
    """
    job = current_run.get()
    if job is None:
        raise LookupError("no model runs here: running_job() is for on_train, on_predict and what they call")
    return job


class BaseModelRunner(ABC):
    """A model as a class. Every run has a process of its own, so nothing kept in `self` outlives one.

    `config` is the service's own Struct, `data`, `historic` and `future` are frames, `geo` the geometries if there are
    any. What `on_train` returns is stored and given to `on_predict`: JSON values, frames and bytes as what they are,
    anything else as a pickle that carries this service's signature.
    """

    async def on_init(self) -> None:  # noqa: B027 - to be overridden or left as it is
        """Called before each run."""

    async def on_cleanup(self) -> None:  # noqa: B027
        """Called after each run, however it went."""

    @abstractmethod
    async def on_train(self, config: Any, data: DataFrame, geo: FeatureCollection | None = None) -> Any:
        """Fit a model and return it."""

    @abstractmethod
    async def on_predict(
        self,
        config: Any,
        model: Any,
        historic: DataFrame,
        future: DataFrame,
        geo: FeatureCollection | None = None,
    ) -> DataFrame:
        """Predict the periods of `future`; columns `time_period`, `location`, `sample_0`, `sample_1`, …"""

    async def on_validate_train(
        self, config: Any, data: DataFrame, geo: FeatureCollection | None = None
    ) -> list[Diagnostic]:
        """What is wrong with a request to train, beyond what the service finds by itself."""
        return []

    async def on_validate_predict(
        self, config: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None = None
    ) -> list[Diagnostic]:
        """What is wrong with a request to predict, beyond what the service finds by itself."""
        return []


Train = Callable[[Any, DataFrame, FeatureCollection | None], Any | Awaitable[Any]]
Predict = Callable[[Any, Any, DataFrame, DataFrame, FeatureCollection | None], DataFrame | Awaitable[DataFrame]]
ValidateTrain = Callable[[Any, DataFrame, FeatureCollection | None], list[Diagnostic] | Awaitable[list[Diagnostic]]]
ValidatePredict = Callable[
    [Any, DataFrame, DataFrame, FeatureCollection | None], list[Diagnostic] | Awaitable[list[Diagnostic]]
]


class FunctionalModelRunner:
    """A model as functions, `def` or `async def`, of a module.

    `on_train(config, data, geo)` returns the model, `on_predict(config, model, historic, future, geo)` the frame of
    predictions; the two others return what they find wrong with a request.
    """

    def __init__(
        self,
        on_train: Train,
        on_predict: Predict,
        on_validate_train: ValidateTrain | None = None,
        on_validate_predict: ValidatePredict | None = None,
    ) -> None:
        self.on_train = on_train
        self.on_predict = on_predict
        self.on_validate_train = on_validate_train
        self.on_validate_predict = on_validate_predict


class ShellModelRunner:
    """A model as two commands, in whatever language, that work on files.

    Every run gets a directory of its own with a copy of the project in it: the folder `project`, or the current one.
    `train_command` finds `config.yml`, `data.csv` and, with geometries, `geo.json`; `predict_command` finds what the
    training has left and `historic.csv`, `future.csv`, and writes `predictions.csv`. The commands may name those files
    as `{data_file}`, `{historic_file}`, `{future_file}`, `{output_file}` and `{geo_file}` (empty without geometries).

    `config_format` is `flat`, or `chap_core` for options under `user_option_values`. `adapters` adds columns to what
    the commands read: a new name to that of another column, or to `year`, `month` or `week` of `time_period`.
    `timeout_seconds` is for one command. Raises `Misconfigured`.
    """

    def __init__(
        self,
        train_command: str,
        predict_command: str,
        on_validate_train: ValidateTrain | None = None,
        on_validate_predict: ValidatePredict | None = None,
        *,
        config_format: str = "flat",
        adapters: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        project: str | Path | None = None,
    ) -> None:
        if config_format not in CONFIG_FORMATS:
            raise Misconfigured(
                f"ShellModelRunner(config_format={config_format!r}): use one of {', '.join(CONFIG_FORMATS)}"
            )
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise Misconfigured(f"ShellModelRunner(timeout_seconds={timeout_seconds}): more than 0 seconds, or None")
        for name, command in (("train_command", train_command), ("predict_command", predict_command)):
            _check_command(name, command)
        self.train_command = train_command
        self.predict_command = predict_command
        self.on_validate_train = on_validate_train
        self.on_validate_predict = on_validate_predict
        self.config_format = config_format
        self.adapters = dict(adapters or {})
        self.timeout_seconds = timeout_seconds
        self.project = Path(project or Path.cwd()).absolute()


ModelRunner = BaseModelRunner | FunctionalModelRunner | ShellModelRunner

PLACES = {
    "train_command": ("data_file", "geo_file"),
    "predict_command": ("historic_file", "future_file", "output_file", "geo_file"),
}
"""What commands may name."""


def _check_command(name: str, command: str) -> None:
    if not command.strip():
        raise Misconfigured(f"ShellModelRunner({name}=''): it is empty")
    try:
        command.format(**dict.fromkeys(PLACES[name], ""))
    except (KeyError, IndexError, ValueError) as error:
        allowed = ", ".join(f"{{{place}}}" for place in PLACES[name])
        raise Misconfigured(
            f"ShellModelRunner({name}={command!r}): {error} is none of {allowed}; write other braces twice"
        ) from None


def check_runner(runner: Any) -> None:
    """Raise `Misconfigured` for what is no runner."""
    if not isinstance(runner, ModelRunner):
        raise Misconfigured(
            f"{runner!r} is no runner of a model: give a FunctionalModelRunner, a ShellModelRunner, or an instance of "
            "a class that derives from BaseModelRunner"
        )
