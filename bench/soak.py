"""Hours in minutes: mixed load on one service for a while, after which it must be as small as before.

`python -m bench.soak <seconds>` does it for so long on each database and exits with 1 when memory or open files have
grown.
"""

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import msgspec

from bench.operations import USERS
from bench.workers import served
from domain.entity import new_id
from tests.servers import postgres, redis

CALLERS = 8
WARM_UP_SHARE, SAMPLE_SECONDS, LEAST_REQUESTS = 0.4, 0.25, 3_000
SLACK_MIB, SLACK_FILES = 6.0, 4
"""What may come on top is what allocators and pools keep for later, once."""
PAGES_MIB, PAGES_KIB_PER_REQUEST = 64.0, 0.5
"""The pages of its file that SQLite keeps: jobs and replies stay for days, so the file grows, and they with it."""
BATCH, LOOKED_AT = 20, 50
"""How many users a bulk request has; every how many stories metrics are asked for."""
QUERIES = ("?page=3&size=50", "?limit=50&sort=-age&search=user", '?filter={"age":{"gte":30}}&sort=-age&fields=id,name')


class Sample(NamedTuple):
    """A moment: requests answered so far, MiB of memory that is the process's own, and how many files it has open."""

    requests: int
    mebibytes: float
    files: int


class Run:
    """How many stories have been begun, and whether that is enough: for so many seconds, and so many requests."""

    def __init__(self, seconds: float, least_requests: int) -> None:
        self.stories = 0
        self._deadline, self._least_requests = time.monotonic() + seconds, least_requests

    @property
    def requests(self) -> int:
        return self.stories * REQUESTS_PER_STORY

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline and self.requests >= self._least_requests


class Soak(NamedTuple):
    """What a process was after its warm-up, and at the end."""

    before: Sample
    after: Sample
    seconds: float
    has_pages: bool

    @property
    def faults(self) -> list[str]:
        """What has grown, each as a sentence."""
        requests, faults = self.after.requests - self.before.requests, []
        grown, more = self.after.mebibytes - self.before.mebibytes, self.after.files - self.before.files
        pages = min(PAGES_MIB, requests * PAGES_KIB_PER_REQUEST / 1024) if self.has_pages else 0.0
        if grown > (most := SLACK_MIB + pages):
            faults.append(f"{grown:.1f} MiB more after {requests:,} requests, and {most:.1f} may be")
        if more > SLACK_FILES:
            faults.append(f"{more} open files more, and {SLACK_FILES} may be")
        return faults

    def __str__(self) -> str:
        memory = f"{self.before.mebibytes:.1f} to {self.after.mebibytes:.1f} MiB"
        files = f"{self.before.files} to {self.after.files} open files"
        return f"{self.after.requests:,} requests in {self.seconds:.0f} s: {memory}, {files}"


async def soak(url: str, seconds: float, redis_url: str | None = None) -> Soak:
    """Load a service on the database at `url` for so long; the first part of the time warms it up.

    On a busy machine it takes longer: pools of connections are full after so many requests, not after so many seconds.
    """
    with served("soaked", url, redis_url) as (port, pid):
        base = f"http://127.0.0.1:{port}"
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with httpx.AsyncClient(base_url=base, timeout=30, limits=limits) as client:
            run, began = Run(seconds, LEAST_REQUESTS), time.monotonic()
            callers = [asyncio.create_task(_call(client, run)) for _ in range(CALLERS)]
            samples = [sample async for sample in _watched(pid, run)]
            await asyncio.gather(*callers)
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    part = max(1, len(warm) // 4)
    has_pages = url.startswith("sqlite")
    return Soak(_middle(warm[:part]), _middle(warm[-part:]), time.monotonic() - began, has_pages)


async def _call(client: httpx.AsyncClient, run: Run) -> None:
    """One user's story, over and over: what is made is changed, read and deleted, so that tables stay as they are."""
    while not run.is_over:
        run.stories += 1
        number = run.stories
        user = {"name": f"User {number}", "email": f"user{number}@example.com"}
        key = {"idempotency-key": uuid4().hex}
        made, again = [await _ask(client, "POST", USERS, json=user, headers=key) for _ in range(2)]
        assert again.headers["idempotency-replayed"] == "true"
        path = f"{USERS}/{made.json()['id']}"
        await _ask(client, "PATCH", path, json={"age": number % 90})
        found = await _ask(client, "GET", path)
        assert (await client.get(path, headers={"if-none-match": found.headers["etag"]})).status_code == 304
        for query in QUERIES * 2:
            await _ask(client, "GET", USERS + query)
        await _bulk(client, number)
        await _ask(client, "POST", "/api/v1/tasks/nothing/$execute", json={"args": {"number": number}})
        await _ask(client, "GET", "/metrics" if number % LOOKED_AT == 0 else "/health")
        assert (await client.get(f"{USERS}?sort=nonsense")).status_code == 400
        await _ask(client, "DELETE", path)
        assert (await client.get(path)).status_code == 404


REQUESTS_PER_STORY = 12 + 2 * len(QUERIES)


async def _bulk(client: httpx.AsyncClient, number: int) -> None:
    """Many users come, and go."""
    ids = [new_id() for _ in range(BATCH)]
    everybody = [{"id": id, "name": f"Bulk {number}", "email": f"{id}@example.com"} for id in ids]
    lines = b"".join(msgspec.json.encode({"op": "create", "data": one}) + b"\n" for one in everybody)
    headers = {"content-type": "application/x-ndjson"}
    await _ask(client, "POST", f"{USERS}/$bulk", content=lines, headers=headers)
    await _ask(client, "POST", f"{USERS}/$bulk", json={"items": [{"op": "delete", "id": id} for id in ids]})


async def _ask(client: httpx.AsyncClient, method: str, path: str, **sent: Any) -> httpx.Response:
    return (await client.request(method, path, **sent)).raise_for_status()


async def _watched(pid: int, run: Run) -> AsyncIterator[Sample]:
    while not run.is_over:
        yield Sample(run.requests, own_mebibytes(pid), _open_files(pid))
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
    seconds, faults = float(sys.argv[1]), list[str]()
    with tempfile.TemporaryDirectory() as folder, postgres() as server, redis() as shared:
        for name, url, redis_url in (
            ("sqlite", f"sqlite:///{folder}/soak.sqlite3", None),
            ("postgresql, redis", server.create_database("soak"), shared.url),
        ):
            found = asyncio.run(soak(url, seconds, redis_url))
            print(f"{name}: {found}", flush=True)
            faults += [f"{name}: {fault}" for fault in found.faults]
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
