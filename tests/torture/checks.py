"""What must be true when all is over; every check returns what is wrong, in words."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from domain.jobs import FINAL, JobState
from tests.torture.ledger import CANCELED, Ledger, Promise
from tests.torture.mill import LANE_LIMIT
from tests.torture.record import JobRow, Record, Span, seconds_between

_FINAL = {state.value for state in FINAL}


def violations(record: Record, ledger: Ledger, ticks: Mapping[str, tuple[datetime, datetime]]) -> list[str]:
    """Everything that is wrong. `ticks` says from when to when every second must be one of a schedule."""
    return [
        *ledger.mistakes,
        *_promises(record, ledger),
        *_graphs(record, ledger),
        *_rows(record),
        *_histories(record),
        *_runs(record, ledger),
        *_lanes(record),
        *_names(record),
        *_ticks(record, ticks),
    ]


def _promises(record: Record, ledger: Ledger) -> Iterator[str]:
    """No accepted job is lost, and every one that exists has ended as it must."""
    for id, promise in ledger.accepted.items():
        if id not in record.jobs:
            yield f"job {id} was accepted and is lost"
        else:
            yield from _kept(record.jobs[id], promise)
    for label, promise in ledger.doubtful.items():
        if label in record.labels:
            yield from _kept(record.labels[label], promise)
    for id, is_certain in ledger.removed.items():
        if id in record.jobs and is_certain:
            yield f"job {id} was removed and is still there"
        elif id in record.jobs:
            yield from _kept(record.jobs[id], Promise(CANCELED))


def _kept(job: JobRow, promise: Promise) -> Iterator[str]:
    if JobState(job.state) not in promise.states:
        wanted = " or ".join(sorted(promise.states))
        yield f"job {job.id} ({job.kind}, node {job.node}) is {job.state} and should be {wanted}: {job.error}"
    if promise.result is not None and job.result != promise.result:
        yield f"job {job.id} ({job.kind}, node {job.node}) returned {job.result} and should have {promise.result}"


def _graphs(record: Record, ledger: Ledger) -> Iterator[str]:
    """A graph is there with all its nodes or not at all, and they have ended as their edges say."""
    wanted = dict(ledger.graphs)
    for label, promises in ledger.doubtful_graphs.items():
        if label in record.graphs:
            wanted[record.graphs[label]] = promises
    for id, promises in wanted.items():
        nodes = record.nodes(id)
        if nodes.keys() != promises.keys():
            yield f"graph {id} has the nodes {sorted(nodes)} and should have {sorted(promises)}"
            continue
        for name, promise in promises.items():
            yield from _kept(nodes[name], promise)
    known = set(record.graphs.values())
    for job in record.jobs.values():
        if job.graph_id is not None and job.graph_id not in known:
            yield f"job {job.id} belongs to graph {job.graph_id}, which does not exist"


def _rows(record: Record) -> Iterator[str]:
    """Nothing runs any more, nobody holds a lease, and what was removed is gone."""
    for job in record.jobs.values():
        if not job.is_final or job.finished_at is None:
            yield f"job {job.id} ({job.kind}) is still {job.state}"
        if job.lease_token is not None:
            yield f"job {job.id} ({job.kind}) is {job.state} and has a lease"
    yield from (f"there is a row of {leftover}, which does not exist" for leftover in record.leftovers)


def _histories(record: Record) -> Iterator[str]:
    """A job ends once, nothing happens to it until it is asked to run again, and its counters are those since then."""
    for job in record.jobs.values():
        types = [event.type for event in record.events[job.id]]
        again = [place for place, name in enumerate(types) if name == "requeued"]
        lives = [types[begin:end] for begin, end in pairwise([0, *again, len(types)])]
        is_in_order = all([name in _FINAL for name in life] == [False] * (len(life) - 1) + [True] for life in lives)
        if not is_in_order or types[:1] != ["submitted"] or types[-1] != job.state:
            yield f"job {job.id} ({job.kind}) is {job.state} and its history is {types}"
        counts = Counter(lives[-1])
        if job.attempt != counts["running"] - counts["released"]:
            yield f"job {job.id} ({job.kind}) counts {job.attempt} attempts and its history is {types}"
        # A job that was being canceled when its worker was lost ends by that.
        if job.losses - counts["lost"] not in ((0, 1) if job.state == JobState.CANCELED else (0,)):
            yield f"job {job.id} ({job.kind}) counts {job.losses} losses and its history is {types}"
        if _is_doubly_claimed(types):
            yield f"job {job.id} ({job.kind}) was claimed while it ran: {types}"


def _is_doubly_claimed(types: Sequence[str]) -> bool:
    """Whether two claims of a job have nothing between them that ended the first."""
    told = [name for name in types if name != "canceling"]
    return any(first == second == "running" for first, second in pairwise(told))


def _runs(record: Record, ledger: Ledger) -> Iterator[str]:
    """Every run that the witness saw was claimed, none began after the end of its job, and no success is invented."""
    for id, job in record.jobs.items():
        starts = record.starts[id]
        claims = sum(event.type == "running" for event in record.events[id])
        if len(starts) > claims:
            yield f"job {id} ({job.kind}) was begun {len(starts)} times and claimed {claims} times"
        for line in starts:
            if job.finished_at is not None and line.at > job.finished_at:
                yield f"job {id} ({job.kind}) was begun at {line.at}, after its end at {job.finished_at}"
        done = [line for line in record.ends[id] if line.moment == "end"]
        if job.state == JobState.COMPLETED and not any(line.at <= (job.finished_at or line.at) for line in done):
            yield f"job {id} ({job.kind}) is completed and has never come to its end"
    for line in record.lines:
        if line.job_id not in record.jobs and line.job_id not in ledger.removed:
            yield f"job {line.job_id} was run and does not exist"


def _lanes(record: Record) -> Iterator[str]:
    """Of jobs with the same concurrency key no more run at a time than may, what was taken from its worker aside."""
    lanes: defaultdict[str, list[Span]] = defaultdict(list)
    for span in record.spans():
        job = record.jobs.get(span.job_id)
        is_keyed = job is not None and job.kind == "keyed" and job.concurrency_key is not None
        if is_keyed and not record.is_lost(span.job_id, span.begin):
            lanes[str(job and job.concurrency_key)].append(span)
    for key, spans in lanes.items():
        steps = sorted([(span.begin, 1) for span in spans] + [(span.end, -1) for span in spans])
        running = 0
        for at, step in steps:
            running += step
            if running > LANE_LIMIT:
                yield f"{running} jobs ran with the key {key} at {at}"


def _names(record: Record) -> Iterator[str]:
    """Of the jobs with the same unique key one is unfinished at a time."""
    names: defaultdict[str, list[JobRow]] = defaultdict(list)
    for job in record.jobs.values():
        if job.unique_key is not None:
            names[job.unique_key].append(job)
    for key, jobs in names.items():
        for first, second in pairwise(sorted(jobs, key=lambda job: (job.submitted_at, job.id))):
            if first.finished_at is None or first.finished_at > second.submitted_at:
                yield f"jobs {first.id} and {second.id} had the unique key {key} at the same time"


def _ticks(record: Record, wanted: Mapping[str, tuple[datetime, datetime]]) -> Iterator[str]:
    """Every second has one tick of every schedule, and every tick that fired one job."""
    for id, (first, last) in wanted.items():
        found = Counter(tick.fire_at for tick in record.ticks if tick.schedule_id == id and tick.fire_at <= last)
        for second in seconds_between(first, last):
            if found.pop(second, 0) != 1:
                yield f"schedule {id} has not seen to its tick of {second} exactly once"
        for fire_at in found:
            yield f"schedule {id} has a tick at {fire_at}, where none should be"
    submitted = Counter(job.id for job in record.jobs.values() if job.schedule_id is not None)
    fired = Counter(tick.job_id for tick in record.ticks if tick.job_id is not None)
    for id, count in fired.items():
        if count != 1 or submitted.pop(id, 0) != 1:
            yield f"the tick of job {id} was seen to {count} times"
    for id in submitted:
        yield f"job {id} belongs to no tick"
    for tick in record.ticks:
        if tick.outcome == "failed":
            yield f"schedule {tick.schedule_id} failed to fire at {tick.fire_at}"
