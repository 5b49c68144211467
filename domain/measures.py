"""What a service counts about itself: plain numbers, which cost next to nothing until somebody asks for them."""

import enum
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from domain.errors import Misconfigured

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what somebody waits for."""
LONG_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0)
"""Bounds for work in the background."""
OTHER = "other"
MOST_SERIES = 1_000

Labels = tuple[str, ...]


class Kind(enum.StrEnum):
    """What can be made of a number: a counter only grows, a gauge is what is now."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Spread(msgspec.Struct, kw_only=True):
    """How observed values are spread: how many up to each bound, with one more place for what is above all of them."""

    counts: list[int]
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one name. Values of histograms and summaries are a `Spread`, those of the others a number.

    The name of a counter ends in `_total`. `bounds` are those of a histogram. What `is_shared` is the same whichever
    of several processes is asked.
    """

    name: str
    description: str
    kind: Kind = Kind.GAUGE
    labels: Labels = ()
    bounds: Sequence[float] = ()
    values: Sequence[tuple[Labels, float | Spread]] = ()
    is_shared: bool = False


Collector = Callable[[], Iterable[Family]]
"""Says how things stand, when somebody asks. It must not wait for anything."""


class Counter:
    """How often something has happened, by labels of which there are at most `most` combinations."""

    def __init__(self, name: str, description: str, labels: Sequence[str] = (), *, most: int = MOST_SERIES) -> None:
        if not name.endswith("_total"):
            raise Misconfigured(f"the counter {name!r}: the name of a counter ends in _total")
        self.name, self.description, self.labels, self.most = name, description, tuple(labels), most
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count; `labels` in the order of their names."""
        if labels not in self.values:
            labels = bounded(labels, self.labels, self.values, self.most)
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def families(self) -> Iterator[Family]:
        """What has been counted."""
        yield Family(
            name=self.name,
            description=self.description,
            kind=Kind.COUNTER,
            labels=self.labels,
            values=list(self.values.items()),
        )


class Histogram:
    """How values such as durations are spread, by labels of which there are at most `most` combinations."""

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float] = SECONDS,
        most: int = MOST_SERIES,
    ) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise Misconfigured(f"the histogram {name!r}: its bounds must ascend, and are {list(bounds)}")
        self.name, self.description, self.labels, self.most = name, description, tuple(labels), most
        self.bounds = tuple(bounds)
        self.values: dict[Labels, Spread] = {}
        if not labels:
            self._new(())

    def observe(self, value: float, *labels: str) -> None:
        """Add a value; `labels` in the order of their names."""
        spread = self.values.get(labels)
        if spread is None:
            labels = bounded(labels, self.labels, self.values, self.most)
            spread = self.values.get(labels) or self._new(labels)
        spread.counts[bisect_left(self.bounds, value)] += 1
        spread.total += value

    def _new(self, labels: Labels) -> Spread:
        spread = self.values[labels] = Spread(counts=[0] * (len(self.bounds) + 1))
        return spread

    def families(self) -> Iterator[Family]:
        """What has been observed."""
        yield Family(
            name=self.name,
            description=self.description,
            kind=Kind.HISTOGRAM,
            labels=self.labels,
            bounds=self.bounds,
            values=list(self.values.items()),
        )


def bounded(labels: Labels, names: Labels, known: Mapping[Labels, object], most: int) -> Labels:
    """New labels, or a row of `OTHER` when there are as many as may be. Raises `Misconfigured` for a wrong number."""
    if len(labels) != len(names):
        raise Misconfigured(f"labels {list(labels)}: values are needed for {list(names)}, in this order")
    return labels if len(known) < most else (OTHER,) * len(names)


class Measures:
    """Everything that a service measures. Collectors are asked one after the other, in the event loop."""

    def __init__(self) -> None:
        self._collectors: list[Collector] = []

    def add(self, collector: Collector) -> None:
        """Ask `collector` whenever somebody wants to know."""
        self._collectors.append(collector)

    @contextmanager
    def including(self, *collectors: Collector) -> Iterator[None]:
        """Ask these, for a block."""
        self._collectors += collectors
        try:
            yield
        finally:
            for collector in collectors:
                self._collectors.remove(collector)

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter, shown from now on. Raises `Misconfigured` for a name that does not end in `_total`."""
        made = Counter(name, description, labels)
        self.add(made.families)
        return made

    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        """A new histogram, shown from now on. Raises `Misconfigured` for bounds that do not ascend."""
        made = Histogram(name, description, labels, bounds=bounds)
        self.add(made.families)
        return made

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Show what `read` returns, whenever somebody wants to know."""
        self.add(lambda: [Family(name=name, description=description, values=[((), read())])])

    def families(self) -> Iterator[Family]:
        """How everything stands."""
        for collector in list(self._collectors):
            yield from collector()
