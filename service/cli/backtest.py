"""`millrace backtest`: have a running service try its models on the past, and see how good they were."""

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from domain.errors import InvalidBody, Unavailable
from domain.frames import DataFrame
from service.cli.output import MISUSE, Failed, say, tabulate
from service.cli.remote import LOCAL, Remote, UrlOption

POLL_SECONDS = 0.5
_FAILED = {"failed", "dead"}
_FINAL = {"completed", "canceled", "skipped", *_FAILED}
_COLUMNS = ("n", "mae", "crps", "wis", "coverage_80", "skill")


def backtest(
    data: Annotated[Path, typer.Option("--data", "-d", help="What has been observed: a .csv or .json file.")],
    config: Annotated[list[str], typer.Option("--config", "-c", help="The name or id of a model; may be repeated.")],
    url: UrlOption = LOCAL,
    horizon: Annotated[int | None, typer.Option(min=1, help="Periods to predict.", show_default=False)] = None,
    splits: Annotated[int, typer.Option(min=1, help="At how many moments.")] = 4,
    stride: Annotated[int, typer.Option(min=1, help="How many periods these are apart.")] = 1,
    window: Annotated[
        int | None, typer.Option(min=1, help="Periods to learn from; all without.", show_default=False)
    ] = None,
    target: Annotated[str, typer.Option(help="The column that is forecast.")] = "disease_cases",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to put the report as JSON.", show_default=False)
    ] = None,
) -> None:
    """Try models at several moments of the past, and compare them with each other and with a seasonal baseline."""
    # What is found out only afterwards would have taken all the time that the backtest takes.
    if output is not None and (output.exists() or not output.absolute().parent.is_dir()):
        what = "is there already" if output.exists() else "would be in a folder that is not there"
        raise Failed(f"{output} {what}: give another --output", MISUSE)
    frame = _read(data)
    with Remote(url) as remote:
        asked = {
            "config_ids": [_config(remote, name) for name in config],
            "data": msgspec.to_builtins(frame),
            "splits": splits,
            "stride": stride,
            "target": target,
            **{name: value for name, value in (("horizon", horizon), ("window", window)) if value is not None},
        }
        accepted = _submitted(remote, asked)
        goes_on = f"the backtest goes on as job {accepted['job_id']}, and its report will be {accepted['artifact_id']}"
        try:
            _wait(remote, accepted)
        except KeyboardInterrupt:
            say(goes_on)
            raise
        except Unavailable as error:
            raise Unavailable(f"{error}; {goes_on}") from error
        report = remote.ask("GET", f"/api/v1/artifacts/{accepted['artifact_id']}")["data"]["content"]
    _tell(report)
    say(f"artifact {accepted['artifact_id']}")
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def _read(path: Path) -> DataFrame:
    if not path.is_file():
        raise Failed(f"{path} is no file", MISUSE)
    try:
        if path.suffix == ".csv":
            return DataFrame.from_csv(path)
        content = path.read_bytes()
        return DataFrame.from_json(content) if content.lstrip()[:1] == b"[" else DataFrame.decode(content)
    except (InvalidBody, ValueError, KeyError, TypeError, OSError) as error:
        raise Failed(f"{path} holds no table: {error}", MISUSE) from error


def _config(remote: Remote, name: str) -> str:
    """The id of a configuration by its name or id. Raises `Failed`, also for a name that several have."""
    configs: list[dict[str, Any]] = remote.ask("GET", "/api/v1/configs")
    found = [item["id"] for item in configs if name in {item["id"], item["name"]}]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise Failed(
            f'{len(found)} configurations have the name "{name}": give an id, one of {", ".join(found)}', MISUSE
        )
    known = ", ".join(item["name"] for item in configs[:20]) or "none"
    raise Failed(f'there is no configuration "{name}"; there are: {known}', MISUSE)


def _submitted(remote: Remote, asked: dict[str, Any]) -> dict[str, Any]:
    """The job, the graph and the artifact of a backtest. Raises `Failed` with what is wrong with it."""
    reply = remote.send("POST", "/api/v1/ml/$backtest", json=asked)
    if reply.status_code == 422:
        raise Failed(f"the backtest was refused: {reply.json().get('detail', reply.text)}", MISUSE)
    if reply.status_code != 202:
        raise Failed(f"{remote.url} does no backtests: $backtest answered {reply.status_code}: {reply.text[:300]}")
    accepted: dict[str, Any] = reply.json()
    return accepted


def _wait(remote: Remote, accepted: dict[str, Any]) -> None:
    """Say how many trials are done until all are. Raises `Failed` when the report is not made."""
    told = ""
    while True:
        nodes: list[dict[str, Any]] = list(
            remote.ask("GET", f"/api/v1/graphs/{accepted['graph_id']}")["nodes"].values()
        )
        states = Counter(node["state"] for node in nodes if node["job_id"] != accepted["job_id"])
        failed = sum(states[state] for state in _FAILED)
        line = f"{states['completed']} of {states.total()} trials done" + (f", {failed} failed" if failed else "")
        if line != told:
            say(line)
            told = line
        report = next(node for node in nodes if node["job_id"] == accepted["job_id"])
        if report["state"] in _FINAL:
            break
        time.sleep(POLL_SECONDS)
    if report["state"] != "completed":
        raise Failed(f"the backtest is {report['state']}: {report.get('error') or 'no reason was given'}")


def _tell(report: dict[str, Any]) -> None:
    """A line for each model and the baseline, the best by CRPS first."""
    overall = report["overall"]
    names = sorted(overall, key=lambda name: (overall[name]["crps"] is None, overall[name]["crps"] or 0.0, name))
    rows = []
    for name in names:
        said = f"{name} (baseline)" if name == report["baseline"] else name
        is_best = name == names[0] and overall[name]["crps"] is not None
        scores = [_shown(overall[name].get(column)) for column in _COLUMNS]
        rows.append([said, *scores, "best" if is_best else ""])
    tabulate(("model", *_COLUMNS, ""), rows)


def _shown(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
