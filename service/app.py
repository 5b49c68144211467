"""Finds the app that a target such as `main.py`, `shop.main` or `shop.main:app` names, and says what it answers."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from domain.errors import Misconfigured, ServiceError
from service.http.application import Service

DEFAULT_FILE = "main.py"
DEFAULT_ATTRIBUTE = "app"
_TARGETS = "a file such as main.py, or a module such as shop.main:app"


class Target(msgspec.Struct, frozen=True):
    """Where an app is: a file or a module, and the name it has there. `folder` is where its imports are looked up."""

    module: str | Path
    attribute: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


class Route(msgspec.Struct, frozen=True):
    """One URL and what it is for; `summary` is empty for what the documentation leaves out."""

    method: str
    path: str
    summary: str


def parse_target(text: str | None) -> Target:
    """What `text` names; None is `main.py` in the current folder. Raises `Misconfigured` when there is no such file."""
    here = Path.cwd()
    name, _, attribute = (text or DEFAULT_FILE).partition(":")
    attribute = attribute or DEFAULT_ATTRIBUTE
    if not attribute.isidentifier():
        raise Misconfigured(f"{text!r} names no app: give {_TARGETS}")
    if name.endswith(".py") or os.sep in name or (Path(name).is_dir() and not _is_package(name)):
        file = Path(name).absolute()
        file = file / DEFAULT_FILE if file.is_dir() else file
        if text is None and not file.is_file():
            raise Misconfigured(f"there is no {DEFAULT_FILE} in {here}: name your module, {_TARGETS}")
        if not file.is_file():
            raise Misconfigured(f"there is no file {file}: give {_TARGETS}")
        return Target(file, attribute, file.parent)
    if not all(part.isidentifier() for part in name.split(".")):
        raise Misconfigured(f"{text!r} names no module: give {_TARGETS}")
    return Target(name, attribute, here)


def load_app(text: str | None = None) -> Service:
    """The app that `text` names. Its folder (of a module: the current one) comes first on `sys.path`.

    Raises `Misconfigured` saying what was looked for and where, or file and line of what is wrong with the module.
    """
    target = parse_target(text)
    if str(target.folder) not in sys.path:
        sys.path.insert(0, str(target.folder))
    module = _imported(target)
    found = getattr(module, target.attribute, None)
    if isinstance(found, Service):
        return found
    if found is not None:
        unfinished = "; call .build() on it" if hasattr(found, "build") else ""
        raise Misconfigured(f"{target} is no app but of type {type(found).__name__}{unfinished}")
    others = [name for name, value in vars(module).items() if isinstance(value, Service)]
    hint = f"did you mean {target.module}:{others[0]}?" if others else "write app = ServiceBuilder(…)….build() there"
    raise Misconfigured(f"{target.module} has no {target.attribute!r}: {hint}")


def located(error: Exception, folder: Path) -> str:
    """An unexpected error in one line, with the place in `folder` where it came from."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if Path(frame.filename).is_relative_to(folder) and "-packages" not in frame.filename
    ]
    place = f"{_shown(own[-1].filename)}, line {own[-1].lineno}: " if own else ""
    return " ".join(f"{place}{text}".split())


def endpoints(app: Service) -> set[tuple[str, str]]:
    """Method and path of everything an app answers; HEAD goes without saying."""
    return {
        (method, route.path_format)
        for route in app.routes
        for method in getattr(route, "methods", {"WEBSOCKET"}) - {"OPTIONS", "HEAD"}
    }


async def routes_of(app: Service) -> list[Route]:
    """Every route of an app in the order of their paths, described as in its OpenAPI document; nothing is opened."""
    described = msgspec.json.decode(await _asked(app, "/openapi.json")).get("paths", {})

    def summary(method: str, path: str) -> str:
        return str(described.get(path, {}).get(method.lower(), {}).get("summary") or "")

    ordered = sorted(endpoints(app), key=lambda endpoint: endpoint[::-1])
    return [Route(method, path, summary(method, path)) for method, path in ordered]


def _imported(target: Target) -> ModuleType:
    try:
        if isinstance(target.module, Path):
            return _from_file(target.module)
        return importlib.import_module(target.module)
    except (Misconfigured, ServiceError):
        raise
    except ModuleNotFoundError as error:
        if isinstance(target.module, str) and error.name and f"{target.module}.".startswith(f"{error.name}."):
            missing = f"there is no module {error.name!r} in {target.folder} or among the installed packages"
            raise Misconfigured(f"{missing}: give {_TARGETS}") from error
        raise Misconfigured(located(error, target.folder)) from error
    except Exception as error:
        raise Misconfigured(located(error, target.folder)) from error


def _from_file(file: Path) -> ModuleType:
    # Under its own name, so that a sibling which imports it gets the same module; never in the place of another one.
    name = file.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    if known is not None or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"millrace_target_{name}"
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_package(name: str) -> bool:
    return (Path(name) / "__init__.py").is_file()


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


async def _asked(app: Service, path: str) -> bytes:
    """The body of a GET, as a server would get it."""
    body = bytearray()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))

    application: Callable[..., Any] = app
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await application(
        {
            **scope,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": None,
            "server": ("localhost", 80),
            "state": {},
        },
        receive,
        send,
    )
    return bytes(body)
