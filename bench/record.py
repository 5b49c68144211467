"""What the last runs measured, kept as JSON: what the report is written from."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench import results
from bench.results import Figure, Result, milliseconds

FILE = Path(__file__).parents[1] / "build" / "bench" / "results.json"


class Row(msgspec.Struct, kw_only=True):
    """A promise, and what was measured of it the last time; `measured` is better the larger it is if `is_least`."""

    suite: str
    promise: str
    where: str
    unit: str
    gate: float
    aim: float
    measured: float
    is_least: bool
    beside: str
    at: datetime

    @property
    def distance(self) -> float:
        """The measured as a share of the aim, so that 1 and more is an aim that is reached."""
        better, worse = (self.measured, self.aim) if self.is_least else (self.aim, self.measured)
        return better / worse if worse else float("inf")

    @property
    def room(self) -> float:
        """The same of the gate: below 1 it is broken."""
        better, worse = (self.measured, self.gate) if self.is_least else (self.gate, self.measured)
        return better / worse if worse else float("inf")


class Record(msgspec.Struct, kw_only=True):
    """All promises, and the machine that they were measured on."""

    machine: str
    rows: list[Row]


def machine() -> str:
    """The machine in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def keep(suites: Iterable[tuple[str, Figure | Result]]) -> None:
    """Add what was measured now; the rest of an earlier run stays, as only a part may have been run."""
    now = datetime.now(UTC)
    known = {(row.promise, row.where): row for row in read().rows} if FILE.exists() else {}
    for suite, found in suites:
        for row in _rows(suite, found, now):
            known[row.promise, row.where] = row
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(Record(machine=machine(), rows=list(known.values())))))


def read() -> Record:
    """What was measured last."""
    return msgspec.json.decode(FILE.read_bytes(), type=Record)


def _rows(suite: str, found: Figure | Result, now: datetime) -> Iterable[Row]:
    if isinstance(found, Figure):
        promise = found.promise
        yield Row(
            suite=suite,
            promise=promise.figure,
            where=promise.where,
            unit=promise.unit,
            gate=promise.gate,
            aim=promise.aim,
            measured=found.value,
            is_least=promise.is_least,
            beside=found.beside,
            at=now,
        )
        return
    budget, (ours, limit) = found.budget, found.rates
    shared = {"suite": suite, "where": budget.database, "at": now}
    yield Row(
        promise=f"{budget.operation}, to its limit",
        unit="x",
        gate=budget.gate,
        aim=budget.aim,
        measured=found.share,
        is_least=True,
        beside=f"{ours:,.0f} /s, limit {limit:,.0f} /s; processor {found.thrift:.2f} x",
        **shared,
    )
    if budget.p99 is not None and budget.p50 is not None:
        p50, p99 = (milliseconds(found.service_times, percent) for percent in (50, 99))
        yield Row(
            promise=f"{budget.operation}, p99 alone",
            unit="ms",
            gate=budget.p99,
            aim=budget.p50,
            measured=p99,
            is_least=False,
            beside=f"p50 {p50:.1f} ms",
            **shared,
        )


def measured() -> Iterable[tuple[str, Figure | Result]]:
    """What this run has measured so far."""
    yield from (("requests", result) for result in results.RESULTS)
    yield from (("work", figure) for figure in results.FIGURES)
