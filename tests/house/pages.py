"""Reads README.md and docs/*.md, and does what they say: see `test_docs.py` for the conventions."""

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/accounts/main.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "http://127.0.0.1:8000"
ANY = "…"
START_SECONDS = 30
STOP_SECONDS = 10

SHOWN_ONLY: Mapping[str, str] = {
    "make test": "this is it",
    "python -m venv .venv": "carried out by `make install`, which every test run starts with",
    ".venv/bin/pip install path/to/millrace": "carried out by `make docker-replay`",
    "docker build -t millrace .": "carried out by `make docker-replay`",
    "docker run -p 8000:8000 -v accounts:/data millrace": "carried out by `make docker-replay`",
    "kubectl apply -k k8s": "tests/house/test_k8s.py reads the manifests",
}
"""Commands that pages show and this test does not run, and who does."""

SERVE = re.compile(r"millrace serve (\S+)|make run")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line it begins at."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, told by its first line: `# main.py`."""
        found = re.match(r"# ([a-z_]+\.py)\n", self.text)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            if opened is None:
                opened, lines = (line[3:].strip(), number), []
            else:
                found.append(Block(opened[0], "".join(f"{text}\n" for text in lines), opened[1]))
                opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page.name}:{opened[1]}: the block does not end" if opened else ""
    return found


class Mismatch(AssertionError):
    """A page says something else than what happens."""


class Service:
    """A service in a process of its own, on a free port."""

    def __init__(self, file: Path, folder: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"service-{self.port}.log"
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", "serve", str(file)],
                cwd=folder,
                env={**environment, "PORT": str(self.port)},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the service did not start:\n{self.log.read_text()[-3000:]}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop the process and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Reader:
    """Somebody who follows one page from top to bottom, in a folder of their own.

    `settings` are further variables of the environment. Without `has_curl` the stand-in is used.
    """

    def __init__(
        self, page: Path, folder: Path, settings: Mapping[str, str] | None = None, *, has_curl: bool = True
    ) -> None:
        self.page = page
        self.folder = folder
        self.done = {"python": 0, "bash": 0, "compared": 0}
        self._services: list[Service] = []
        self._modules_before = dict(sys.modules)
        self._module = self._new_module("page")
        self._runner = asyncio.Runner()
        tools = folder / ".tools"
        tools.mkdir()
        self._tool(tools / "millrace", f'exec "{sys.executable}" -m service.cli.main "$@"')
        self._tool(tools / "python", f'exec "{sys.executable}" "$@"')
        if not has_curl or shutil.which("curl") is None:
            self._tool(tools / "curl", f'exec "{sys.executable}" "{Path(__file__).with_name("curl.py")}" "$@"')
        # Every curl says on stderr what it was answered.
        (tools / ".curlrc").write_text('write-out = "%{stderr}status %{http_code}\\n"\n')
        own = {"DATABASE_URL", "HOST", "PORT", "WORKERS", "LOG_FORMAT", "LOG_LEVEL"}
        inherited = {name: v for name, v in os.environ.items() if name not in own and not name.startswith("MILLRACE_")}
        self.environment = {
            **inherited,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "CURL_HOME": str(tools),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            "NO_COLOR": "1",
            **(settings or {}),
        }

    @staticmethod
    def _tool(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def close(self) -> None:
        """Stop what was started."""
        self._runner.close()
        for service in self._services:
            service.stop()
        for name in sys.modules.keys() - self._modules_before.keys():
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]
        sys.modules.update(self._modules_before)

    def follow(self) -> None:
        """Do everything the page says. Raises `Mismatch` with the place and both sides."""
        all_blocks = blocks(self.page)
        for number, block in enumerate(all_blocks):
            following = all_blocks[number + 1] if number + 1 < len(all_blocks) else None
            try:
                self._do(block, following)
            except Exception as error:
                raise Mismatch(f"{self.page.relative_to(ROOT)}:{block.line}: {error}") from error

    def _do(self, block: Block, following: Block | None) -> None:
        if block.language == "python":
            self.run_python(block)
        elif block.language == "bash":
            expected = following if following is not None and following.language in {"json", "http", "text"} else None
            self.run_bash(block, expected)

    # Python

    def _new_module(self, name: str) -> ModuleType:
        module = ModuleType(name)
        # msgspec and Litestar look up annotations in the module a class says it is from.
        sys.modules[name] = module
        return module

    def run_python(self, block: Block) -> None:
        """Run a block: as the file it is, or in the namespace of the latest file on the page."""
        self.done["python"] += 1
        path = self.folder / (block.file or f"line_{block.line}.py")
        if block.file is not None:
            path.write_text(block.text)
            if block.file.startswith("test_"):
                return
            self._module = self._new_module(path.stem)
            self._module.__file__ = str(path)
        code = compile(block.text, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            self._runner.run(self._awaited(code))
        else:
            exec(code, self._module.__dict__)

    async def _awaited(self, code: Any) -> None:
        await eval(code, self._module.__dict__)

    # Shell

    def run_bash(self, block: Block, expected: Block | None) -> None:
        """Run the commands of a block and compare what they print with the block that follows."""
        commands = [line for line in block.text.splitlines() if line and not line.startswith("#")]
        if all(line in SHOWN_ONLY for line in commands):
            return
        self.done["bash"] += 1
        if len(commands) == 1 and (serving := SERVE.fullmatch(commands[0])):
            self._serve(serving[1])
            return
        script = block.text
        service = self._service() if ADDRESS in script else None
        if service is not None:
            script = script.replace(ADDRESS, service.url)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if ran.returncode:
            raise Mismatch(f"ended with {ran.returncode}\n{ran.stdout}{ran.stderr}")
        statuses = [int(status) for status in re.findall(r"^status (\d+)$", ran.stderr, re.MULTILINE)]
        said = ran.stdout.replace(service.url, ADDRESS) if service is not None else ran.stdout
        for status in statuses:
            if status >= 500:
                raise Mismatch(f"answered {status}\n{said}")
            if status >= 400 and (expected is None or str(status) not in expected.text):
                raise Mismatch(f"answered {status}, and what follows does not say so\n{said}")
        if expected is not None:
            self.compare(expected, said)

    def compare(self, expected: Block, said: str) -> None:
        """Raise `Mismatch` unless `said` is what the block shows."""
        self.done["compared"] += 1
        try:
            if expected.language == "json":
                fault = differs(json.loads(expected.text), json.loads(said))
            elif expected.language == "http":
                fault = reply_differs(expected.text, said)
            else:
                fault = text_differs(expected.text, said)
        except ValueError as error:
            fault = str(error)
        if fault:
            raise Mismatch(f"line {expected.line} shows something else: {fault}\nit was:\n{said}")

    def _service(self) -> Service:
        if not self._services:
            self._serve(None)
        return self._services[-1]

    def _serve(self, file: str | None) -> None:
        """Start a file of the page, or the example, which makes its users itself; the one before is stopped."""
        if self._services:
            self._services[-1].stop()
        self._services.append(Service(EXAMPLE if file is None else Path(file), self.folder, self.environment))


# Comparing


def differs(expected: Any, found: Any, where: str = "$") -> str | None:
    """Where and how `found` is not what `expected` shows; None when it is."""
    if expected == ANY:
        return None
    if isinstance(expected, str) and ANY in expected and isinstance(found, str):
        return None if matches(expected, found) else f"{where} is {found!r}, not {expected!r}"
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [name for name in expected if name != ANY]
        if missing := [name for name in names if name not in found]:
            return f"{where} has no {missing[0]!r}"
        if ANY not in expected and (more := [name for name in found if name not in expected]):
            return f"{where} also has {more[0]!r}"
        return next(
            (fault for name in names if (fault := differs(expected[name], found[name], f"{where}.{name}"))), None
        )
    if isinstance(expected, list) and isinstance(found, list):
        is_open = bool(expected) and expected[-1] == ANY
        shown = expected[:-1] if is_open else expected
        if len(found) < len(shown) or (len(found) > len(shown) and not is_open):
            return f"{where} has {len(found)} items, not {len(shown)}"
        pairs = enumerate(zip(shown, found, strict=False))
        return next((fault for number, (a, b) in pairs if (fault := differs(a, b, f"{where}[{number}]"))), None)
    if type(expected) is not type(found) or expected != found:
        return f"{where} is {found!r}, not {expected!r}"
    return None


def reply_differs(expected: str, said: str) -> str | None:
    """The same for a reply with its head: the status line, the shown headers in any order, the body if one is shown."""
    head, _, body = expected.partition("\n\n")
    found_head, _, found_body = said.replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.strip().splitlines()
    found_status, *found_lines = found_head.splitlines()
    if found_status.strip() != status.strip():
        return f"the status is {found_status!r}"
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in found_lines)}
    for line in lines:
        name, _, value = line.partition(":")
        if not matches(value.strip(), found.get(name.lower(), "")):
            return f"the header {name} is {found.get(name.lower())!r}"
    return differs(json.loads(body), json.loads(found_body)) if body.strip() else None


def text_differs(expected: str, said: str) -> str | None:
    """The same for lines of text, blanks counting as one; a line `…` stands for any number of lines."""
    wanted = [" ".join(line.split()) for line in expected.strip().splitlines()]
    found = [" ".join(line.split()) for line in said.strip().splitlines()]
    pattern = "\n".join(".*" if line == ANY else _pattern(line, "[^\n]*") for line in wanted)
    return None if re.fullmatch(pattern, "\n".join(found), re.DOTALL) else "the text differs"


def matches(expected: str, found: str) -> bool:
    """Whether `found` is `expected`, in which `…` stands for anything."""
    return re.fullmatch(_pattern(expected, ".*"), found, re.DOTALL) is not None


def _pattern(text: str, anything: str) -> str:
    return anything.join(re.escape(part) for part in text.split(ANY))
