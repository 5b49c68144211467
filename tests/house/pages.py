"""Reads README.md and docs/*.md, and does what they say: see `test_docs.py` for the conventions."""

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tests.house.comparing import differs, reply_differs, text_differs
from tests.house.started import Service, Worker

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/accounts/main.py"
RUN = ROOT / "examples/outbreak/main.py"
"""What `make run` starts."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "http://127.0.0.1:8000"
REPEAT_SECONDS = 40

SHOWN_ONLY: Mapping[str, str] = {
    "make test": "this is it",
    "make bench": "carried out by .ci/run",
    "make load USERS=64 RUN_TIME=30s": "needs packages that are not installed; tests/e2e/test_soak.py does the like",
    "python -m venv .venv": "carried out by `make install`, which every test run starts with",
    ".venv/bin/pip install path/to/millrace": "carried out by `make docker-replay`",
    "docker build -t millrace .": "carried out by `make docker-replay`",
    "docker run -p 8000:8000 -v rainfall:/data millrace": "carried out by `make docker-replay`",
    "kubectl apply -k k8s": "tests/house/test_k8s.py reads the manifests",
    "kubectl scale deployment millrace-worker --replicas=4": "the same",
    "kubectl create secret generic millrace --from-literal=redis-url=redis://host:6379/0 \\": "the same",
    "    --from-literal=database-url=postgresql://user:password@host:5432/database": "the same",
}
"""Commands that pages show and this test does not run, and who does."""

SERVERS: Mapping[str, str] = {
    "postgresql://millrace:secret@db.example/library": "postgres_url",
    "redis://redis.example:6379/0": "redis_url",
}
"""Servers that pages export, and the fixtures with the real ones."""

SERVE = re.compile(r"millrace serve (\S+)|make run")
WORK = re.compile(r"millrace worker (.+)")
EXPORT = re.compile(r"export ([A-Z_]+)=(\S+)")
# What changes nothing may be done again until it says what the page shows: jobs take their time.
READ = re.compile(r"curl (?!.* -[dX] ).*|millrace jobs (?:ls|show|logs) .*")
MADE = re.compile(r"/api/v1/([a-z]+)s .*-d ")


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


class Reader:
    """Somebody who follows one page from top to bottom, in a folder of their own.

    `settings` are further variables of the environment, `servers` the servers that take the place of those that the
    page names. Without `has_curl` the stand-in is used.
    """

    def __init__(
        self,
        page: Path,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        servers: Mapping[str, str] | None = None,
        has_curl: bool = True,
    ) -> None:
        self.page = page
        self.folder = folder
        self.done = {"python": 0, "bash": 0, "compared": 0}
        self._services: list[Service] = []
        self._workers: list[Worker] = []
        self._servers = dict(servers or {})
        self._modules_before = dict(sys.modules)
        self._module = self._new_module("page")
        self._runner = asyncio.Runner()
        tools = folder / ".tools"
        tools.mkdir()
        self._tool(tools / "millrace", f'exec "{sys.executable}" -m service.cli "$@"')
        self._tool(tools / "python", f'exec "{sys.executable}" "$@"')
        if not has_curl or shutil.which("curl") is None:
            self._tool(tools / "curl", f'exec "{sys.executable}" "{Path(__file__).with_name("curl.py")}" "$@"')
        # Every curl says on stderr what it was answered.
        (tools / ".curlrc").write_text('write-out = "%{stderr}status %{http_code}\\n"\n')
        own = {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "WORKERS", "LOG_FORMAT", "LOG_LEVEL"}
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
        for process in (*self._workers, *self._services):
            process.stop()
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
        if all(EXPORT.fullmatch(line) for line in commands):
            self._export(commands)
        elif len(commands) == 1 and (serving := SERVE.fullmatch(commands[0])):
            self._serve(serving[1] or str(RUN))
        elif len(commands) == 1 and (working := WORK.fullmatch(commands[0])):
            self._work(working[1].split(), expected)
        else:
            self._run(block.text, expected)

    def _run(self, script: str, expected: Block | None) -> None:
        lines = script.replace("\\\n", " ").splitlines()
        is_read = expected is not None and all(READ.fullmatch(line) for line in lines)
        deadline = time.monotonic() + REPEAT_SECONDS
        while True:
            try:
                said = self._once(script, expected)
            except Mismatch:
                if not is_read or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                self._remember(script, said)
                return

    def _once(self, script: str, expected: Block | None) -> str:
        """Run a script, once, and return what it said."""
        if ADDRESS in script:
            script = script.replace(ADDRESS, self._service().url)
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
        said = ran.stdout.replace(self._services[-1].url, ADDRESS) if self._services else ran.stdout
        for status in statuses:
            if status >= 500:
                raise Mismatch(f"answered {status}\n{said}")
            if status >= 400 and (expected is None or str(status) not in expected.text):
                raise Mismatch(f"answered {status}, and what follows does not say so\n{said}")
        if expected is not None:
            self.compare(expected, said)
        return said

    def _remember(self, script: str, said: str) -> None:
        """Ids that pages refer to: `$JOB` is the latest `job_id`, `$GRAPH` the latest graph, and so on."""
        with suppress(ValueError):
            reply = json.loads(said.replace("\r\n", "\n").rpartition("\n\n")[2])
            if isinstance(reply, dict) and isinstance(reply.get("graph_id"), str):
                self.environment["GRAPH"] = reply["graph_id"]
            if isinstance(reply, dict) and isinstance(reply.get("job_id"), str):
                self.environment["JOB"] = reply["job_id"]
                if "artifact_id" in reply:
                    self.environment["ARTIFACT"] = reply["artifact_id"]
            elif isinstance(reply, dict) and "id" in reply and (made := MADE.search(script.replace("\\\n", " "))):
                self.environment[made[1].upper()] = reply["id"]

    def _export(self, commands: Sequence[str]) -> None:
        for line in commands:
            _, name, value, _ = EXPORT.split(line)
            self.environment[name] = self._servers.get(value, value)

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

    def _work(self, arguments: Sequence[str], expected: Block | None) -> None:
        """Start a worker, whose process id the page calls `$WORKER`; it works until the page is over or ends it."""
        worker = Worker(["worker", *arguments], self.folder, self.environment)
        self._workers.append(worker)
        self.environment["WORKER"] = str(worker.pid)
        if expected is not None:
            self.compare(expected, worker.log.read_text())
