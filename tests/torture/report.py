"""What came of a storm, in numbers."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.torture.ledger import Ledger
from tests.torture.record import Record


class Outcome(NamedTuple):
    """What came of a storm: everything that is wrong, in words, and how much there was of what."""

    wrong: list[str]
    counts: dict[str, int]

    def lines(self, title: str) -> Iterator[str]:
        """It as a table."""
        width = max(map(len, self.counts))
        yield title
        for name, count in {**self.counts, "violations": len(self.wrong)}.items():
            yield f"  {name:{width}} {count:>7}"
        yield from self.wrong[:50]


def counts(record: Record, ledger: Ledger, happened: Mapping[str, int]) -> dict[str, int]:
    """How much there was of what."""
    events = Counter(event.type for history in record.events.values() for event in history)
    stored = sum(label in record.labels for label in ledger.doubtful)
    stored += sum(label in record.graphs for label in ledger.doubtful_graphs)
    return {
        **dict(sorted(happened.items())),
        "jobs accepted": ledger.jobs,
        "… of them ended": _ended(record, ledger),
        "graphs accepted": len(ledger.graphs),
        "graphs run again": ledger.reruns,
        "jobs removed": sum(ledger.removed.values()),
        "unique jobs that were there": ledger.duplicates,
        "submissions without a server": ledger.refused,
        "submissions without answer": len(ledger.doubtful) + len(ledger.doubtful_graphs),
        "… of them stored": stored,
        "ticks": len(record.ticks),
        "jobs in all": len(record.jobs),
        "runs": events["running"],
        "runs that lost their worker": events["lost"],
        "runs handed back": events["released"],
        "attempts that failed": events["retrying"],
        "jobs completed": events["completed"],
        "jobs failed": events["failed"],
        "jobs canceled": events["canceled"],
        "nodes skipped": events["skipped"],
    }


def _ended(record: Record, ledger: Ledger) -> int:
    """How many of the accepted jobs have ended, in whatever way; nodes of graphs included."""
    alone = [record.jobs[id] for id in ledger.accepted if id in record.jobs]
    nodes = [node for id in ledger.graphs for node in record.nodes(id).values()]
    return sum(job.is_final for job in (*alone, *nodes))
