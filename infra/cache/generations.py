"""Generations for a service without a database: they are counted in this process, or kept in Redis for all of them."""

from collections.abc import Sequence
from uuid import uuid4

from domain.caching import EVERYTHING
from domain.errors import Unavailable
from infra.cache.link import RedisLink

MOST_NAMES = 100_000
# A generation that is forgotten is followed by another one, never by the same.
_LIFE_SECONDS = 30 * 24 * 3600


class MemoryGenerations:
    """How often each tag was invalidated in this process; no other process hears of it.

    Tags may be made of anything, so their number has a limit: beyond it all of them count as changed. So they do after
    a restart, for who knows what has changed meanwhile; but `EVERYTHING` has no tags, and changes when it is cleared.
    """

    def __init__(self, most_names: int = MOST_NAMES) -> None:
        self._most_names = most_names
        self._changes = self._at_least = _another()
        self._everything = 0
        self._last_change: dict[str, int] = {}

    def known(self, names: Sequence[str]) -> tuple[int, ...]:
        """The generations."""
        return tuple([self._everything if name == EVERYTHING else self._of(name) for name in names])

    async def current(self, names: Sequence[str]) -> tuple[int, ...]:
        """The generations."""
        return self.known(names)

    async def bump(self, names: Sequence[str]) -> None:
        """Count a change of what is behind these names."""
        for name in names:
            self._changes += 1
            if name == EVERYTHING:
                self._everything = self._changes
                continue
            if len(self._last_change) >= self._most_names and name not in self._last_change:
                self._at_least = self._changes
                self._last_change.clear()
            self._last_change[name] = self._changes

    def _of(self, name: str) -> int:
        return self._last_change.get(name, self._at_least)


class RedisGenerations:
    """The tags of all processes that share a Redis and a `namespace`: a number of each that no change leaves as it was.

    Nothing is known without asking, for nobody here hears of a change.
    """

    def __init__(self, link: RedisLink, *, namespace: str) -> None:
        self._link = link
        self._namespace = namespace

    def known(self, names: Sequence[str]) -> None:
        """Nothing is certain without asking."""
        return

    async def current(self, names: Sequence[str]) -> tuple[int, ...]:
        """The generations. Raises `Unavailable`."""
        found = await self._link.ask(lambda: self._read(names))
        if found is None:
            raise _away()
        return found[0]

    async def bump(self, names: Sequence[str]) -> None:
        """Give each of these names another generation. Raises `Unavailable`."""
        if await self._link.ask(lambda: self._change(names)) is None:
            raise _away()

    async def _read(self, names: Sequence[str]) -> tuple[int, ...]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.get(self._name(name))
            values = await pipeline.execute()
        if None in values:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.set(self._name(name), _another(), nx=True, ex=_LIFE_SECONDS)
                    pipeline.get(self._name(name))
                values = (await pipeline.execute())[1::2]
        return tuple([int(value) for value in values])

    async def _change(self, names: Sequence[str]) -> None:
        async with self._link.client.pipeline(transaction=True) as pipeline:
            for name in names:
                pipeline.set(self._name(name), _another(), ex=_LIFE_SECONDS)
            await pipeline.execute()

    def _name(self, name: str) -> str:
        return f"{self._namespace}:generation:{name}"


def _another() -> int:
    # Not one more than before: what Redis has forgotten would begin anew, at numbers that once were others'.
    return uuid4().int >> 66


def _away() -> Unavailable:
    return Unavailable("The shared cache, which knows what has changed, does not answer")
