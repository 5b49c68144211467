"""A model as two commands."""

from collections.abc import Mapping
from pathlib import Path

from domain.errors import Misconfigured
from domain.models.functional import ValidatePredict, ValidateTrain

CONFIG_FORMATS = ("flat", "chap_core")

PLACES = {
    "train_command": ("data_file", "geo_file"),
    "predict_command": ("historic_file", "future_file", "output_file", "geo_file"),
}
"""What commands may name."""


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
