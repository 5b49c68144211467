"""Draws charts in a process of its own, which can be killed, grows no older than it should, and reaches no network."""

import asyncio
import logging
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from domain.charts.kinds import Format
from domain.errors import Invalid, Unavailable
from infra.charts.child import FORMATS, HEADER, is_installed

logger = logging.getLogger("millrace.charts")

MIB = 1024 * 1024
_ROOT = Path(__file__).parents[2]
_LOOK_SECONDS = 0.05
NOT_INSTALLED = (
    "svg, png and html are drawn by vl-convert-python, which is not installed: pip install 'millrace[charts]'"
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What drawing may take; after `renders` of them, or with more than `idle_mib`, a new process draws the next."""

    seconds: float = 20.0
    memory_mib: int = 1536
    idle_mib: int = 600
    renders: int = 200
    waiting: int = 64


class _Process:
    """A process that draws, and how often it has."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.stdin, self.stdout = process.stdin, process.stdout
        self.renders = 0

    async def ask(self, format: Format, spec: bytes) -> tuple[int, bytes]:
        self.stdin.write(HEADER.pack(FORMATS.index(format), len(spec)) + spec)
        await self.stdin.drain()
        status, size = HEADER.unpack(await self.stdout.readexactly(HEADER.size))
        return status, await self.stdout.readexactly(size)

    def memory(self) -> int:
        """The bytes of memory it holds; 0 where that is not known."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.stdin.close()
        await self.process.wait()


class VlConvertRenderer:
    """One process, started when something is first drawn; one drawing after the other. Belongs to one event loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: _Process | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The process that draws, while there is one."""
        return self._process.process.pid if self._process is not None else None

    async def render(self, spec: bytes, format: Format) -> bytes:
        """A spec as a picture or a page. Raises `Invalid` and `Unavailable`."""
        if format is Format.JSON:
            return spec
        if not is_installed():
            raise Unavailable(NOT_INSTALLED)
        if self._waiting >= self.limits.waiting:
            raise Unavailable(f"{self._waiting} charts wait to be drawn already", extensions={"retry_after": 5})
        self._waiting += 1
        try:
            async with self._turn:
                return await self._drawn(spec, format)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process, and draw nothing more."""
        self._is_closed = True
        await self._discard()

    async def _drawn(self, spec: bytes, format: Format) -> bytes:
        if self._is_closed:
            raise Unavailable("The service is stopping")
        process = self._process = await self._usable()
        asking = asyncio.create_task(process.ask(format, spec))
        try:
            await self._watch(process, asking)
            status, content = asking.result()
        except (OSError, asyncio.IncompleteReadError) as error:
            logger.warning("the process that draws charts has ended: %s", error)
            await self._discard()
            raise Unavailable("The process that draws charts has ended; the next request starts another one") from error
        except BaseException:
            # Half of a reply may be on its way, which is not to become somebody else's.
            asking.cancel()
            await self._discard()
            raise
        process.renders += 1
        if process.renders >= self.limits.renders or process.memory() > self.limits.idle_mib * MIB:
            await self._discard()
        if status:
            raise Invalid(f"The chart cannot be drawn: {_reason(content)}")
        return content

    async def _watch(self, process: _Process, asking: "asyncio.Task[tuple[int, bytes]]") -> None:
        until = time.monotonic() + self.limits.seconds
        while not asking.done():
            await asyncio.wait([asking], timeout=_LOOK_SECONDS)
            if not asking.done() and time.monotonic() > until:
                raise Unavailable(f"Drawing has taken more than {self.limits.seconds:g} seconds: show less data")
            if process.memory() > self.limits.memory_mib * MIB:
                raise Unavailable(f"Drawing has taken more than {self.limits.memory_mib} MiB: show less data")

    async def _usable(self) -> _Process:
        if self._process is not None and self._process.process.returncode is None:
            return self._process
        await self._discard()
        # A fresh interpreter: what draws has threads, and nothing of this process is its business.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "infra.charts.child",
            str(max(1, round(self.limits.seconds))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**_environment(), "PYTHONPATH": str(_ROOT)},
            # A Ctrl-C in the terminal is for the service.
            start_new_session=True,
        )
        return _Process(process)

    async def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()


def _environment() -> dict[str, str]:
    """What a process needs to start and to find fonts: no secrets, and proxies that lead nowhere."""
    wanted = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "FONTCONFIG_PATH", "FONTCONFIG_FILE")
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:1")
    return {**{name: os.environ[name] for name in wanted if name in os.environ}, **nowhere}


def _reason(content: bytes) -> str:
    """The first line that says what is wrong, without the places in the library where it was found."""
    lines = content.decode(errors="replace").splitlines()
    said = [line.strip() for line in lines if not re.match(r"\s+at |.*conversion failed:$", line)]
    return (said[0] if said else "the spec is not valid")[:300]
