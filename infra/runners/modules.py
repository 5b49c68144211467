"""Where the tasks of a service are defined, and how a process that has none of them finds them."""

import importlib
import importlib.util
import operator
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import msgspec

from domain.errors import Misconfigured, encodable
from domain.runs import MOST_TRACEBACK_CHARACTERS, Reason, RunEnd, cut
from domain.tasks import Task

MAIN = "__main__"
# The name that multiprocessing uses too: under it `if __name__ == "__main__":` does not start the program again.
MAIN_ELSEWHERE = "__mp_main__"


class Module(msgspec.Struct, frozen=True):
    """A module by its name, and the file it was read from."""

    name: str
    file: str | None = None


class Place(msgspec.Struct, frozen=True):
    """Where a task is: a module, and the (dotted) name the task has in it."""

    module: Module
    name: str


class CannotImport(Exception):
    """A module that the worker has is not to be had in another process; `end` is how a run ends that needs it."""

    def __init__(self, module: Module, error: BaseException) -> None:
        super().__init__(module.name)
        line = traceback.format_exception_only(error)[-1].strip()
        text = encodable("".join(traceback.format_exception(error)))
        self.end = RunEnd(
            reason=Reason.FAILED,
            error=cut(f"the module {module.name} could not be imported by the process of the task: {line}"),
            traceback=text[-MOST_TRACEBACK_CHARACTERS:],
        )


def check_importable(task: Task) -> None:
    """Raises `Misconfigured` when another process could not find `task` by the name of its function."""
    function = task.function
    name = f"{function.__module__}.{function.__qualname__}"
    rule = f'task "{task.kind}" runs in a process of its own, so {name} must be a module-level function'
    if "<" in name:
        raise Misconfigured(rule)
    place = place_of(task)
    try:
        found = operator.attrgetter(place.name)(sys.modules[function.__module__])
    except (KeyError, AttributeError):
        raise Misconfigured(f"{rule}; there is nothing of this name") from None
    if not isinstance(found, Task) or found.function is not task.function or found.kind != task.kind:
        raise Misconfigured(f"{rule} decorated with @task(); that name stands for something else")


def place_of(task: Task) -> Place:
    """Where a process finds `task`."""
    return Place(module_of(task.function.__module__), task.function.__qualname__)


def module_of(name: str) -> Module:
    """An imported module as another process finds it."""
    module = sys.modules.get(name)
    if name == MAIN:
        # What was started by `python -m` has a name of its own, which its relative imports need.
        specification = getattr(module, "__spec__", None)
        name = getattr(specification, "name", MAIN)
    return Module(name, getattr(module, "__file__", None))


def modules_of(tasks: Iterable[Task]) -> list[Module]:
    """The modules that hold these tasks, each once."""
    return list(dict.fromkeys(place_of(task).module for task in tasks))


def load(module: Module) -> ModuleType:
    """Import a module, from its file if nothing else leads there. Raises `CannotImport`."""
    name = MAIN_ELSEWHERE if module.name == MAIN else module.name
    known = sys.modules.get(name)
    # multiprocessing gives that name to whatever is the main module when it is imported.
    if known is not None and (name == module.name or getattr(known, "__file__", None) == module.file):
        return known
    try:
        if module.file is None or (name == module.name and _is_found(module)):
            return importlib.import_module(name)
        loaded = _from_file(name, module.file)
        if module.name == MAIN:
            sys.modules[MAIN] = loaded
        return loaded
    except BaseException as error:
        raise CannotImport(module, error) from error


def find(place: Place, kind: str) -> Task:
    """The task at `place`. Raises `CannotImport`, also when there is another one now."""
    module = load(place.module)
    found = operator.attrgetter(place.name)(module) if _has(module, place.name) else None
    if not isinstance(found, Task) or found.kind != kind:
        raise CannotImport(place.module, LookupError(f'{place.name} is not the task "{kind}" there'))
    return found


def _has(module: ModuleType, name: str) -> bool:
    try:
        operator.attrgetter(name)(module)
    except AttributeError:
        return False
    return True


def _is_found(module: Module) -> bool:
    """Whether an import by name leads to the same file."""
    try:
        specification = importlib.util.find_spec(module.name)
    except ModuleNotFoundError:
        return False
    origin = specification.origin if specification is not None else None
    if origin is None or module.file is None:
        return False
    return Path(origin).absolute() == Path(module.file).absolute()


def _from_file(name: str, file: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
