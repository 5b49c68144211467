"""Somebody who submits work of every sort without a break, and writes down what the service says to it."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

from domain.jobs import JobState
from tests.torture.ledger import CANCELED, SUCCESS, Ledger, Promise, graph

JSON = dict[str, Any]
LANES, NAMES = 4, 10
PATIENCE_SECONDS, LULL_SECONDS = 15.0, 0.2


class Client:
    """Submits to the servers at `urls`, any of which may be gone at any moment."""

    def __init__(self, name: str, urls: Sequence[str], ledger: Ledger, seed: int) -> None:
        self._name = name
        self._urls = urls
        self._ledger = ledger
        self._chance = random.Random(f"{name} {seed}")
        self._numbers = itertools.count(1)
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS, verify=False)
        self._sorts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self._instant),
            (15, self._brief),
            (3, self._long),
            (6, self._apart),
            (8, self._stumbling),
            (8, self._keyed),
            (6, self._unique),
            (5, self._later),
            (6, self._canceled),
            (6, self._graph),
            (3, self._rerun),
            (3, self._removed),
        ]

    async def close(self) -> None:
        """Disconnect."""
        await self._http.aclose()

    async def submit(self, *, until: Callable[[], bool], most: int, pause: float) -> None:
        """Submit one thing after another, with pauses of about `pause` seconds, but no more than `most` jobs."""
        weights, sorts = zip(*self._sorts, strict=True)
        while not until() and self._ledger.jobs < most:
            unheard = self._ledger.unheard
            await self._chance.choices(sorts, weights=weights)[0]()
            is_heard = self._ledger.unheard == unheard
            await asyncio.sleep(self._chance.random() * 2 * pause if is_heard else LULL_SECONDS)

    async def post(self, path: str, body: JSON) -> JSON | None:
        """What the first server replies that is there.

        None when it is unknown whether the request was carried out; `{}` when it was not.
        """
        for url in self._chance.sample(self._urls, len(self._urls)):
            try:
                reply = await self._http.post(f"{url}{path}", json=body)
                break
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.TransportError:
                return None
        else:
            return {}
        if reply.status_code >= 500:
            return None
        found: JSON = reply.json()
        if reply.is_error:
            self._ledger.mistakes.append(f"POST {path} {body}: {reply.status_code} {found}")
            return {}
        return found

    async def job(self, kind: str, args: JSON | None = None, *, promise: Promise = SUCCESS, **options: Any) -> str:
        """Submit a job; returns its id, or nothing when it is not known to have one."""
        label = f"{self._name} {next(self._numbers)}"
        found = await self.post(f"/api/v1/tasks/{kind}/$execute", {"args": args or {}, "label": label, **options})
        if found is None:
            self._ledger.doubtful[label] = promise
        elif not found:
            self._ledger.refused += 1
        else:
            self._ledger.accepted.setdefault(found["job_id"], promise)
            self._ledger.duplicates += found["is_duplicate"]
            return str(found["job_id"])
        return ""

    async def _instant(self) -> None:
        await self.job("instant")

    async def _brief(self) -> None:
        await self.job("brief", {"seconds": self._chance.random() * 0.8})

    async def _long(self) -> None:
        """For longer than a lease lasts, unless it is renewed."""
        await self.job("brief", {"seconds": 2.5 + self._chance.random()})

    async def _apart(self) -> None:
        await self.job("apart", {"seconds": self._chance.random() * 0.5})

    async def _stumbling(self) -> None:
        times = self._chance.randint(1, 4)
        await self.job("stumbling", {"times": times})

    async def _keyed(self) -> None:
        lane = str(self._chance.randrange(LANES))
        await self.job("keyed", {"lane": lane, "seconds": self._chance.random() * 0.2})

    async def _unique(self) -> None:
        key = f"name-{self._chance.randrange(NAMES)}"
        await self.job("brief", {"seconds": self._chance.random() * 0.3}, unique_key=key)

    async def _later(self) -> None:
        await self.job("instant", delay_seconds=self._chance.random() * 2)

    async def _canceled(self) -> None:
        promise = Promise(CANCELED)
        id = await self.job("brief", {"seconds": self._chance.random()}, promise=promise)
        if id and self._chance.random() < 0.8:
            await asyncio.sleep(self._chance.random() * 0.5)
            await self._cancel(id)

    async def _cancel(self, id: str) -> None:
        reply = await self._ask("POST", f"/api/v1/jobs/{id}/$cancel")
        if reply is not None and reply.status_code == 202 and reply.json()["state"] == JobState.CANCELED:
            self._ledger.accepted[id] = Promise(frozenset({JobState.CANCELED}))

    async def _removed(self) -> None:
        id = await self.job("apart", {"seconds": self._chance.random()})
        if id:
            del self._ledger.accepted[id]
            self._ledger.removed[id] = False
            await asyncio.sleep(self._chance.random())
            reply = await self._ask("DELETE", f"/api/v1/jobs/{id}")
            self._ledger.removed[id] = reply is not None and reply.status_code in {204, 404}

    async def _rerun(self) -> None:
        """Whenever it is run again, and whatever runs already, a graph must end as it would have."""
        if self._ledger.graphs:
            id, promises = self._chance.choice(list(self._ledger.graphs.items()))
            nodes = [name for name, promise in promises.items() if JobState.SKIPPED not in promise.states]
            reply = await self._ask("POST", f"/api/v1/graphs/{id}/$rerun", {"node": self._chance.choice(nodes)})
            self._ledger.reruns += reply is not None and reply.status_code == 202

    async def _ask(self, method: str, path: str, body: JSON | None = None) -> httpx.Response | None:
        """What some server replies that can be asked twice; None when none does."""
        for url in self._chance.sample(self._urls, len(self._urls)):
            try:
                reply = await self._http.request(method, f"{url}{path}", json=body)
            except httpx.TransportError:
                continue
            if reply.is_client_error and reply.status_code not in {404, 409}:
                self._ledger.mistakes.append(f"{method} {path} {body}: {reply.status_code} {reply.text}")
            return reply
        return None

    async def _graph(self) -> None:
        nodes, promises = graph(self._chance)
        label = f"{self._name} {next(self._numbers)}"
        found = await self.post("/api/v1/graphs", {"nodes": nodes, "label": label})
        if found is None:
            self._ledger.doubtful_graphs[label] = promises
        elif not found:
            self._ledger.refused += 1
        else:
            self._ledger.graphs[found["id"]] = promises
