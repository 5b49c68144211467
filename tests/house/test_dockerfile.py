"""The Dockerfile keeps the rules of a small, reproducible image without root; `make docker-replay` carries it out."""

import importlib.machinery
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load_replay() -> ModuleType:
    # A script without a suffix; its parser is the one that the Dockerfile is read with elsewhere.
    loader = importlib.machinery.SourceFileLoader("replay_dockerfile", str(ROOT / ".ci" / "replay-dockerfile"))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


REPLAY = load_replay()
INSTRUCTIONS: list[Any] = REPLAY.parse((ROOT / "Dockerfile").read_text())
STAGES: list[Any] = REPLAY.stages(INSTRUCTIONS)
FINAL: list[Any] = STAGES[-1].instructions


def named(name: str, instructions: list[Any] = INSTRUCTIONS) -> list[Any]:
    return [instruction for instruction in instructions if instruction.name == name]


def test_the_image_is_built_in_one_stage_and_runs_in_another() -> None:
    assert len(STAGES) >= 2
    assert [copy.flags["from"] for copy in named("COPY", FINAL) if "from" in copy.flags] == ["builder"]
    assert not any("pip" in run.text for run in named("RUN", FINAL))


def test_every_base_image_has_a_version() -> None:
    own = {stage.name for stage in STAGES}
    for stage in STAGES:
        assert stage.image in own or re.fullmatch(r"python:3\.\d+-slim", stage.image), stage.image


def test_nothing_is_fetched_or_unpacked_on_the_way_in() -> None:
    assert not named("ADD")


def test_every_dependency_comes_from_a_hashed_lock() -> None:
    installs = [part for run in named("RUN") for part in run.text.split("&&") if " install " in part]
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps --require-hashes -r requirements/" in install or "--no-deps --no-index" in install, install


def test_the_service_runs_as_a_numbered_account_that_is_not_root() -> None:
    (user,) = named("USER", FINAL)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user.text)
    order = [instruction.name for instruction in FINAL]
    assert order.index("USER") < order.index("ENTRYPOINT") < order.index("CMD")
    # Root makes what the account may not change.
    assert order.index("USER") > max(index for index, name in enumerate(order) if name in {"RUN", "COPY"})


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD"])
def test_signals_reach_the_service_and_no_shell(name: str) -> None:
    (instruction,) = named(name, FINAL)
    assert instruction.text.startswith("[")


def test_the_health_check_needs_no_tool_that_the_image_lacks() -> None:
    (check,) = named("HEALTHCHECK", FINAL)
    assert check.text.startswith('CMD ["python"')
    assert "/health/live" in check.text


def test_the_service_is_reachable_and_keeps_its_data_in_a_volume() -> None:
    environment = {name: value for env in named("ENV", FINAL) for name, value in REPLAY.assignments(env).items()}
    assert environment["HOST"] == "0.0.0.0"
    assert environment["PORT"] == named("EXPOSE", FINAL)[0].text
    assert [environment["MILLRACE_HOME"]] == named("VOLUME", FINAL)[0].words


def test_the_image_says_what_it_is() -> None:
    labels = {name for label in named("LABEL", FINAL) for name in REPLAY.assignments(label)}
    assert {f"org.opencontainers.image.{word}" for word in ("title", "description", "licenses")} <= labels


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:].rstrip("/") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for copy in named("COPY"):
        if "from" not in copy.flags:
            for source in copy.words[:-1]:
                assert (ROOT / source).exists(), source
                assert source.rstrip("/") in allowed, source
