"""Starts a real server with 1,000 users, and the external load generator on it: `python -m bench.load.run`."""

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.accounts import USERS
from bench.jobs_service import builder
from bench.operations import users
from service.settings import Settings
from tests.processes import environment
from tests.servers import postgres

ROOT = Path(__file__).parents[2]
LOCUST = ROOT / ".venv" / "load" / "bin" / "locust"
PATIENCE_SECONDS = 120


def main() -> int:
    """Drive it; returns the exit code of the load generator, which is 1 when a request has failed."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder, postgres() if options.postgresql else nullcontext() as server:
        url = server.create_database("load") if server else f"sqlite:///{folder}/load.sqlite3"
        asyncio.run(_fill(url))
        changes = {"DATABASE_URL": url, "MILLRACE_WORKER": "false", "LOG_LEVEL": "WARNING"}
        with serving("bench.jobs_service:app", options.workers, changes) as port:
            drive = [str(LOCUST), "--headless", "--only-summary", "--locustfile", "bench/load/locustfile.py"]
            drive += ["--host", f"http://127.0.0.1:{port}", "--users", str(options.users), "--spawn-rate", "100"]
            return subprocess.run([*drive, "--run-time", options.run_time], cwd=ROOT, check=False).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Drive a real server with an external load generator.")
    parser.add_argument("--users", type=int, default=64, help="how many users there are at a time")
    parser.add_argument("--run-time", default="30s", help="for how long, such as 30s or 5m")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL instead of SQLite")
    return parser.parse_args()


async def _fill(url: str) -> None:
    app = builder(url).build(Settings(worker="false"))
    async with app.lifespan():
        await app.manager(USERS).save_all(users())


@contextmanager
def serving(target: str, workers: int, changes: Mapping[str, str]) -> Iterator[int]:
    """`millrace serve` with so many processes; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "service.cli", "serve", target, "--port", str(port)]
    with subprocess.Popen(
        [*command, "--workers", str(workers)], cwd=ROOT, env=environment(changes), stdout=subprocess.DEVNULL
    ) as process:
        try:
            _wait(process, port)
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the service did not start")


if __name__ == "__main__":
    sys.exit(main())
