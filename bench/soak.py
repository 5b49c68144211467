"""Hours in minutes: mixed load on one service for a while, after which it must be as small as before.

`python -m bench.soak <seconds>` does it on both databases and exits with 1 when memory or open files have grown.
"""

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

from bench.operations import USERS
from bench.workers import served
from tests.servers import postgres

CALLERS = 8
WARM_UP_SHARE, SAMPLE_SECONDS = 0.4, 0.25
MOST_KIB_PER_REQUEST, SLACK_MIB, SLACK_FILES = 0.5, 4.0, 4
"""What may come on top of it is what allocators and pools keep for later, once."""
QUERIES = ("?page=3&size=50", "?limit=50&sort=-age&search=user", '?filter={"age":{"gte":30}}&sort=-age&fields=id,name')


class Sample(NamedTuple):
    """A moment: requests answered so far, MiB of memory that is the process's own, and how many files it has open."""

    requests: int
    mebibytes: float
    files: int


class Counter:
    """How many stories have been begun."""

    stories = 0


class Soak(NamedTuple):
    """What a process was after its warm-up, and at the end."""

    before: Sample
    after: Sample
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What has grown, each as a sentence."""
        requests, faults = self.after.requests - self.before.requests, []
        grown, more = self.after.mebibytes - self.before.mebibytes, self.after.files - self.before.files
        if grown > (most := SLACK_MIB + requests * MOST_KIB_PER_REQUEST / 1024):
            faults.append(f"{grown:.1f} MiB more after {requests:,} requests, and {most:.1f} may be")
        if more > SLACK_FILES:
            faults.append(f"{more} open files more, and {SLACK_FILES} may be")
        return faults

    def __str__(self) -> str:
        memory = f"{self.before.mebibytes:.1f} to {self.after.mebibytes:.1f} MiB"
        files = f"{self.before.files} to {self.after.files} open files"
        return f"{self.after.requests:,} requests in {self.seconds:.0f} s: {memory}, {files}"


async def soak(url: str, seconds: float) -> Soak:
    """Load a service on the database at `url` for so long; the first part of the time warms it up."""
    with served("jobs", url) as (port, pid):
        base = f"http://127.0.0.1:{port}"
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(base_url=base, timeout=30, limits=limits) as client:
            counter, began = Counter(), time.monotonic()
            deadline = began + seconds
            callers = [asyncio.create_task(_call(client, counter, deadline)) for _ in range(CALLERS)]
            samples = [sample async for sample in _watched(pid, counter, deadline)]
            await asyncio.gather(*callers)
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    part = max(1, len(warm) // 4)
    return Soak(_middle(warm[:part]), _middle(warm[-part:]), time.monotonic() - began)


async def _call(client: httpx.AsyncClient, counter: Counter, deadline: float) -> None:
    """One user's story, over and over: what is made is changed, read and deleted, so that tables stay as they are."""
    while time.monotonic() < deadline:
        counter.stories += 1
        number = counter.stories
        made = await client.post(USERS, json={"name": f"User {number}", "email": f"user{number}@example.com"})
        path = f"{USERS}/{made.raise_for_status().json()['id']}"
        await _ask(client, "PATCH", path, json={"age": number % 90})
        found = await _ask(client, "GET", path)
        assert (await client.get(path, headers={"if-none-match": found.headers["etag"]})).status_code == 304
        for query in QUERIES:
            await _ask(client, "GET", USERS + query)
        await _ask(client, "POST", "/api/v1/tasks/nothing/$execute", json={"args": {"number": number}})
        await _ask(client, "GET", "/health")
        assert (await client.get(f"{USERS}?sort=nonsense")).status_code == 400
        await _ask(client, "DELETE", path)
        assert (await client.get(path)).status_code == 404


REQUESTS_PER_STORY = 9 + len(QUERIES)


async def _ask(client: httpx.AsyncClient, method: str, path: str, json: object = None) -> httpx.Response:
    return (await client.request(method, path, json=json)).raise_for_status()


async def _watched(pid: int, counter: Counter, deadline: float) -> AsyncIterator[Sample]:
    while time.monotonic() < deadline:
        yield Sample(counter.stories * REQUESTS_PER_STORY, own_mebibytes(pid), _open_files(pid))
        await asyncio.sleep(SAMPLE_SECONDS)


def own_mebibytes(pid: int) -> float:
    """The MiB of memory that are a process's own."""
    # The pages of a database file are the system's, which gives them to whoever reads it.
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _middle(samples: list[Sample]) -> Sample:
    return Sample(
        samples[-1].requests,
        median(sample.mebibytes for sample in samples),
        round(median(sample.files for sample in samples)),
    )


def main() -> int:
    """Soak both databases; returns the exit code."""
    seconds, faults = float(sys.argv[1]) / 2, list[str]()
    with tempfile.TemporaryDirectory() as folder, postgres() as server:
        for name, url in (
            ("sqlite", f"sqlite:///{folder}/soak.sqlite3"),
            ("postgresql", server.create_database("soak")),
        ):
            found = asyncio.run(soak(url, seconds))
            print(f"{name}: {found}", flush=True)
            faults += [f"{name}: {fault}" for fault in found.faults]
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
