"""What was promised: every submission, what the service said to it, and how it must end."""

import random
from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from domain.graphs import On, is_met
from domain.jobs import JobState

COMPLETED = frozenset({JobState.COMPLETED})
CANCELED = frozenset({JobState.CANCELED, JobState.COMPLETED})


class Promise(NamedTuple):
    """How a job may end, and what it then returns (None where that does not matter)."""

    states: frozenset[JobState] = COMPLETED
    result: int | None = None


SUCCESS = Promise()


class Ledger:
    """What is known of the submissions. `accepted` and `graphs` are by id; what got no answer is doubtful, by label.

    `removed` are the jobs that were asked to be removed, and whether a server has said that they are.
    """

    def __init__(self) -> None:
        self.accepted: dict[str, Promise] = {}
        self.doubtful: dict[str, Promise] = {}
        self.graphs: dict[str, Mapping[str, Promise]] = {}
        self.doubtful_graphs: dict[str, Mapping[str, Promise]] = {}
        self.removed: dict[str, bool] = {}
        self.duplicates = 0
        self.reruns = 0
        self.refused = 0
        self.mistakes: list[str] = []

    @property
    def unheard(self) -> int:
        """How many submissions were refused, or got no answer."""
        return self.refused + len(self.doubtful) + len(self.doubtful_graphs)

    @property
    def jobs(self) -> int:
        """How many jobs were accepted, nodes of graphs included."""
        return len(self.accepted) + sum(len(nodes) for nodes in self.graphs.values())


def graph(chance: random.Random, *, most: int = 8) -> tuple[dict[str, Any], dict[str, Promise]]:
    """The nodes of a graph of any shape as a request has them, and how each must end."""
    nodes: dict[str, dict[str, Any]] = {}
    for number in range(chance.randint(2, most)):
        before = [name for name in nodes if chance.random() < 1.5 / len(nodes)]
        conditions = {name: chance.choices(list(On), weights=(4, 1, 1))[0] for name in before}
        inputs = [{"$ref": name} for name, on in conditions.items() if on is On.SUCCESS]
        nodes[f"n{number}"] = {
            "task": "node",
            "args": {"inputs": inputs, "fails": chance.random() < 0.2},
            "depends_on": {name: on.value for name, on in conditions.items()},
        }
    return nodes, promised(nodes)


def promised(nodes: Mapping[str, Any]) -> dict[str, Promise]:
    """How the nodes of a graph must end when they are run by the rules, each after those it depends on."""
    found: dict[str, Promise] = {}
    parents: dict[str, dict[str, On]] = {
        name: {parent: On(on) for parent, on in asked["depends_on"].items()} for name, asked in nodes.items()
    }
    for name in TopologicalSorter(parents).static_order():
        before = {parent: next(iter(found[parent].states)) for parent in parents[name]}
        if not all(is_met(parents[name][parent], state) for parent, state in before.items()):
            found[name] = Promise(frozenset({JobState.SKIPPED}))
        elif nodes[name]["args"]["fails"]:
            found[name] = Promise(frozenset({JobState.FAILED}))
        else:
            inputs = [found[parent].result or 0 for parent, on in parents[name].items() if on is On.SUCCESS]
            found[name] = Promise(COMPLETED, 1 + sum(inputs))
    return found
