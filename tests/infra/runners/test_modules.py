"""A task is found by the name of its function, in another process too."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from domain.errors import Misconfigured
from domain.tasks import Task, task
from infra.runners.modules import (
    CannotImport,
    Module,
    Place,
    check_importable,
    find,
    load,
    modules_of,
    place_of,
)
from tests.infra.runners import samples


def plain() -> None:
    """Be no task by itself."""


wrapped = task("wrapped")(plain)


@pytest.mark.parametrize("sample", samples.TASKS)
def test_a_task_is_found_by_the_name_of_its_function(sample: Task) -> None:
    check_importable(sample)
    assert find(place_of(sample), sample.kind) is sample


def test_tasks_name_the_modules_they_are_in_once() -> None:
    assert modules_of(samples.TASKS) == [Module("tests.infra.runners.samples", samples.__file__)]


def local() -> Task:
    @task()
    def inner() -> None:
        pass

    return inner


@pytest.mark.parametrize(
    "bad, words",
    [
        (task("local")(lambda: None), "<lambda> must be a module-level function"),
        (local(), "local.<locals>.inner must be a module-level function"),
        (wrapped, r"plain must be a module-level function decorated with @task\(\); that name stands"),
        (task("other")(samples.add.function), "add must be a module-level function decorated with"),
    ],
)
def test_a_task_that_another_process_could_not_find_is_refused(bad: Task, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        check_importable(bad)


def test_a_task_whose_name_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(samples, "nothing")
    with pytest.raises(Misconfigured, match="there is nothing of this name"):
        check_importable(samples.nothing if hasattr(samples, "nothing") else samples.TASKS[1])
    monkeypatch.delitem(sys.modules, samples.__name__)
    with pytest.raises(Misconfigured, match="there is nothing of this name"):
        check_importable(samples.TASKS[0])


def test_a_main_module_that_has_a_name_is_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def function() -> None:
        pass

    function.__module__ = "__main__"
    main = ModuleType("__main__")
    main.__file__ = "/shop/main.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert place_of(task("main")(function)).module == Module("__main__", "/shop/main.py")
    main.__spec__ = samples.__spec__
    assert place_of(task("main")(function)).module == Module(samples.__name__, "/shop/main.py")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Writes a module that no import by name leads to, and forgets it after the test."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(name: str, code: str) -> Module:
        file = tmp_path / f"{name}.py"
        file.write_text(code)
        return Module(name, str(file))

    return write


def test_a_module_is_loaded_from_its_file_when_its_name_leads_nowhere(written: Callable[..., Module]) -> None:
    module = load(written("lonely_shop", "import lonely_shop; answer = lonely_shop.__name__"))
    assert module.answer == "lonely_shop"
    assert load(Module("lonely_shop", module.__file__)) is module
    assert load(written("lonely.shop.tasks", "answer = 7")).answer == 7


def test_a_module_is_loaded_from_its_file_when_its_name_leads_elsewhere(written: Callable[..., Module]) -> None:
    assert load(written("this", "answer = 8")).answer == 8


def test_a_module_that_is_found_by_its_name_is_imported() -> None:
    sys.modules.pop("antigravity", None)
    assert load(Module("colorsys")) is sys.modules["colorsys"]
    assert load(Module("wave", sys.modules["colorsys"].__file__.replace("colorsys", "wave"))).__name__ == "wave"  # type: ignore[union-attr]


def test_the_main_module_is_not_started_again(written: Callable[..., Module]) -> None:
    # As multiprocessing leaves it.
    sys.modules["__mp_main__"] = sys.modules["__main__"]
    file = written("program", "name = __name__\nif name == '__main__':\n    raise SystemExit")
    main = load(Module("__main__", file.file))
    assert main.name == "__mp_main__"
    assert sys.modules["__main__"] is main
    assert load(Module("__main__", file.file)) is main


@pytest.mark.parametrize(
    "code, words",
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("x = ", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_loaded_says_why(written: Callable[..., Module], code: str, words: str) -> None:
    module = written("broken_shop", code)
    with pytest.raises(CannotImport) as caught:
        load(module)
    end = caught.value.end
    assert end.error == f"the module broken_shop could not be imported by the process of the task: {words}"
    assert "broken_shop.py" in (end.traceback or "")
    assert not end.is_permanent
    assert "broken_shop" not in sys.modules


def test_a_file_that_is_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotImport) as caught:
        load(Module("nothing_at_all", str(tmp_path / "notes.txt")))
    assert "notes.txt is no Python file" in (caught.value.end.error or "")


@pytest.mark.parametrize("name, kind", [("missing", "add"), ("Pair", "add"), ("add", "subtract")])
def test_another_task_than_the_one_meant_is_not_run(name: str, kind: str) -> None:
    with pytest.raises(CannotImport) as caught:
        find(Place(place_of(samples.add).module, name), kind)
    assert f'{name} is not the task "{kind}" there' in (caught.value.end.error or "")
