"""The storm: work is submitted while processes are killed and servers fail; then everything must come to rest."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import httpx

from infra.database.engine import DatabaseEngine
from tests.torture.actors import Actor, Company, Server
from tests.torture.checks import violations
from tests.torture.client import Client
from tests.torture.ledger import Ledger
from tests.torture.record import database_now, latest_ticks, read, unfinished
from tests.torture.report import Outcome, counts
from tests.torture.stage import answered
from tests.torture.witness import create, opened

DRAIN_SECONDS = 90.0
CLIENTS = 6
SCHEDULES: dict[str, dict[str, Any]] = {
    "every": {"task": "instant", "overlap": "allow_all"},
    "again": {"task": "brief", "args": {"seconds": 0.1}, "overlap": "allow_all"},
    "apart": {"task": "apart", "args": {"seconds": 0.3}, "overlap": "buffer_one"},
    "newest": {"task": "brief", "args": {"seconds": 1.5}, "overlap": "cancel_other"},
    "skips": {"task": "brief", "args": {"seconds": 1.5}, "overlap": "skip"},
}

Outage = tuple[str, Callable[[random.Random], Awaitable[None]]]
"""Something that happens to a server behind the service: what it is called, and what does it."""


class Plan(NamedTuple):
    """How hard a storm is.

    Between two kills pass `calm` seconds on average, and a victim lives again after up to `rest`. Besides, `stalls`
    processes stand still for longer than a lease, and `stops` are told to end.
    """

    seed: int
    kills: int
    jobs: int
    stalls: int = 0
    stops: int = 0
    calm: float = 1.0
    rest: float = 2.0

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.kills * self.calm


class Storm:
    """One storm over a company whose actors run. The last of its servers is the one that schedules are made with."""

    def __init__(self, company: Company, plan: Plan, outages: Sequence[Outage] = ()) -> None:
        self._company = company
        self._plan = plan
        self._outages = outages
        self._drawn: Counter[str] = Counter()
        self._ledger = Ledger()
        self._urls = [actor.url for actor in company.actors if isinstance(actor, Server)]
        self._happened: Counter[str] = Counter()
        self._schedules: dict[str, datetime] = {}
        self._busy: set[Actor] = set()
        self._is_over = False

    async def run(self) -> Outcome:
        """Let it rage, wait for the calm after it, and look at what is left."""
        async with opened(self._company.url) as engine:
            await create(engine)
        await self._create_schedules()
        began = time.monotonic()
        await self._rage()
        raged = time.monotonic()
        async with opened(self._company.url) as engine:
            ticks = await self._settle(engine)
            settled = time.monotonic()
            wrong = self._end_all()
            record = await read(engine)
        self._happened.update({"seconds of storm": round(raged - began), "seconds until calm": round(settled - raged)})
        return Outcome([*wrong, *violations(record, self._ledger, ticks)], counts(record, self._ledger, self._happened))

    async def _create_schedules(self) -> None:
        async with httpx.AsyncClient(base_url=self._urls[-1], timeout=30, verify=False) as http:
            for name, body in SCHEDULES.items():
                asked = {"name": name, "cron": "* * * * * *", "catch_up": "all", "catch_up_limit": 1000, **body}
                reply = await http.post("/api/v1/schedules", json=asked)
                assert reply.status_code == 201, reply.text
                created = reply.json()
                self._schedules[created["id"]] = datetime.fromisoformat(created["next_fire_at"])

    # Raging

    async def _rage(self) -> None:
        clients = [Client(f"client {number}", self._urls, self._ledger, self._plan.seed) for number in range(CLIENTS)]
        # Faster than need be, for they will have to wait.
        pause = 0.5 * CLIENTS * self._plan.seconds / self._plan.jobs
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.submit(until=lambda: self._is_over, most=self._plan.jobs, pause=pause))
                for outage in self._planned():
                    group.create_task(outage)
                group.create_task(self._look_after())
                await self._kill_all(group)
                # On a machine that is busy with other things not all is submitted in this time.
                within = self._plan.seconds + DRAIN_SECONDS
                await self._calm(self._are_accepted, f"{self._plan.jobs} jobs were not accepted", within=within)
                self._is_over = True
        finally:
            for client in clients:
                await client.close()

    async def _are_accepted(self) -> bool:
        return self._ledger.jobs >= self._plan.jobs

    def _planned(self) -> list[Coroutine[Any, Any, None]]:
        """Everything but the kills, each at its own time."""
        planned = [self._at(moment, self._stall) for moment in self._moments(self._plan.stalls)]
        planned += [self._at(moment, self._stop) for moment in self._moments(self._plan.stops)]
        for (name, strike), moment in zip(self._outages, self._moments(len(self._outages)), strict=True):
            planned.append(self._at(moment, self._outage(name, strike)))
        return planned

    def _chance(self, what: str) -> random.Random:
        """The chance of the next event of a kind. Each has its own, for in what order they happen is not repeatable."""
        self._drawn[what] += 1
        return random.Random(f"storm {self._plan.seed} {what} {self._drawn[what]}")

    def _moments(self, count: int) -> list[float]:
        chance = self._chance("moments")
        return [(number + chance.uniform(0.1, 0.6)) / count * self._plan.seconds for number in range(count)]

    async def _at(self, seconds: float, happen: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        await happen()

    def _outage(self, name: str, strike: Callable[[random.Random], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        chance = self._chance(name)

        async def happen() -> None:
            await strike(chance)
            self._happened[name] += 1

        return happen

    async def _kill_all(self, group: asyncio.TaskGroup) -> None:
        for _ in range(self._plan.kills):
            chance = self._chance("kill")
            await asyncio.sleep(chance.uniform(0, 2 * self._plan.calm))
            victim = await self._victim(chance)
            self._busy.add(victim)
            victim.kill()
            self._happened["kills of servers" if isinstance(victim, Server) else "kills of workers"] += 1
            group.create_task(self._revive(victim, chance.uniform(0, self._plan.rest)))

    async def _revive(self, victim: Actor, rest: float) -> None:
        await asyncio.sleep(rest)
        victim.start()
        self._busy.remove(victim)

    async def _look_after(self) -> None:
        while not self._is_over:
            self._start_again()
            await asyncio.sleep(0.2)

    def _start_again(self) -> None:
        """Start those that found no database when they started, and note who has ended by itself later than that."""
        for actor in self._company.actors:
            if not actor.is_running and actor not in self._busy:
                if actor.has_started:
                    self._ledger.mistakes.append(f"{actor.name} ended by itself: {actor.said()[-500:]}")
                self._happened["starts without a database"] += 1
                actor.start()

    async def _stall(self) -> None:
        """One that stands still may be killed meanwhile."""
        chance = self._chance("stall")
        victim = await self._victim(chance)
        victim.signal(signal.SIGSTOP)
        await asyncio.sleep(self._company.lease_seconds * chance.uniform(1.2, 2.5))
        victim.signal(signal.SIGCONT)
        self._happened["processes stalled"] += 1

    async def _stop(self) -> None:
        victim = await self._victim(self._chance("stop"))
        self._busy.add(victim)
        await asyncio.to_thread(victim.stop)
        victim.start()
        self._busy.remove(victim)
        self._happened["processes stopped in order"] += 1

    async def _victim(self, chance: random.Random) -> Actor:
        async def victims() -> list[Actor]:
            return [actor for actor in self._company.actors if actor.is_running and actor not in self._busy]

        return chance.choice(await answered(victims, "nobody is there to be a victim"))

    # Calming down

    async def _settle(self, engine: DatabaseEngine) -> dict[str, tuple[datetime, datetime]]:
        """Wait until all work is done; returns from when to when there must be ticks."""

        async def have_ended(*, of_schedules: bool) -> bool:
            return not await unfinished(engine, of_schedules=of_schedules)

        async def have_started() -> bool:
            self._start_again()
            return all(actor.is_ready() for actor in self._company.actors)

        async def have_fired() -> bool:
            latest = await latest_ticks(engine)
            return all(latest[id] >= until for id in self._schedules)

        await answered(have_started, "not everybody has started")
        await self._calm(lambda: have_ended(of_schedules=False), "the jobs have not ended", within=DRAIN_SECONDS)
        until = (await database_now(engine)).replace(microsecond=0)
        await answered(have_fired, "schedules have not fired")
        await self._pause_schedules()
        await self._calm(
            lambda: have_ended(of_schedules=True), "jobs of schedules have not ended", within=DRAIN_SECONDS
        )
        return {id: (first, until) for id, first in self._schedules.items()}

    async def _calm(self, question: Callable[[], Awaitable[bool]], trouble: str, *, within: float) -> None:
        """Wait for a true answer. None in time is a mistake, and the record tells of which jobs."""
        try:
            await answered(question, trouble, within=within)
        except AssertionError as error:
            self._ledger.mistakes.append(str(error))

    async def _pause_schedules(self) -> None:
        async with httpx.AsyncClient(base_url=self._urls[-1], timeout=30, verify=False) as http:
            for id in self._schedules:
                reply = await http.patch(f"/api/v1/schedules/{id}", json={"is_paused": True})
                assert reply.status_code == 200, reply.text

    def _end_all(self) -> list[str]:
        """Have everything end in order; returns what did not."""
        wrong = [f"{actor.name} ended with {code}" for actor in self._company.actors if (code := actor.stop()) != 0]
        return wrong + [f"process {number} is left over" for number in self._company.processes()]
