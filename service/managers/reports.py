"""What runs report while they last: collected here, written in bundles, and kept within bounds."""

import asyncio
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.job_ports import JobQueue
from domain.jobs import Job, Progress
from domain.runs import cut

HEAD_BYTES = 192 * 1024
TAIL_BYTES = 64 * 1024
MOST_LINE_CHARACTERS = 16 * 1024
MOST_UNSORTED = 1_000

Line = tuple[str, str]


class Report:
    """The reports of one run. The first lines are kept as they come, of what exceeds them the last ones.

    Messages may come from any thread, and by the million.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._told: deque[Mapping[str, Any]] = deque()
        self._sorting = threading.Lock()
        self._lines: list[Line] = []
        self._progress: Progress | None = None
        self._written = 0
        self._tail: deque[Line] = deque()
        self._tail_bytes = 0
        self._left_out = 0

    def add(self, message: Mapping[str, Any]) -> None:
        """Take a message of the run."""
        self._told.append(message)
        if len(self._told) >= MOST_UNSORTED:
            self._sort()

    def take(self) -> tuple[list[Line], Progress | None]:
        """The lines to write and the latest progress since the last time."""
        self._sort()
        with self._sorting:
            lines, self._lines = self._lines, []
            progress, self._progress = self._progress, None
        return lines, progress

    def _sort(self) -> None:
        """Put what has come in where it belongs, and drop what is beyond the bounds."""
        with self._sorting:
            while self._told:
                for name, value in self._told.popleft().items():
                    if name == "progress":
                        self._progress = msgspec.convert(value, Progress)
                    else:
                        self._lines += self._within_bounds((name, _storable(str(value))))

    def rest(self) -> list[Line]:
        """The last lines of a run that wrote too much, and how many are missing before them."""
        lines, self._tail = list(self._tail), deque()
        missing = [("log", f"… {self._left_out} lines left out here …")] if self._left_out else []
        self._left_out = self._tail_bytes = 0
        return missing + lines

    def _within_bounds(self, line: Line) -> list[Line]:
        size = len(line[1].encode()) + 1
        if self._written + size <= HEAD_BYTES and not self._tail:
            self._written += size
            return [line]
        self._tail.append(line)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft()[1].encode()) + 1
            self._left_out += 1
        return []


class Reports:
    """The reports of all runs of a worker."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._reports: dict[str, Report] = {}
        self._writing = asyncio.Lock()
        self._logs: list[tuple[str, str, str, str]] = []
        self._progress: dict[str, tuple[str, str, Progress]] = {}

    def open(self, job: Job) -> Report:
        """Begin to collect what a run reports."""
        report = self._reports[job.id] = Report(job)
        return report

    def discard(self, job: Job) -> None:
        """Forget the reports of a run that is over."""
        self._reports.pop(job.id, None)

    async def write(self, closing: Sequence[Job] = ()) -> None:
        """Write what has come in; of the runs that are over (`closing`) all of it. Raises `Unavailable`."""
        closed = {job.id for job in closing}
        # One after the other, so that lines are stored in their order.
        async with self._writing:
            for id, report in self._reports.items():
                self._collect(id, report, is_closed=id in closed)
            # What could not be written is still there the next time.
            if self._logs:
                await self._queue.write_logs(self._logs)
                self._logs = []
            if self._progress:
                await self._queue.report(list(self._progress.values()))
                self._progress = {}

    def _collect(self, id: str, report: Report, *, is_closed: bool) -> None:
        token = report.job.lease_token or ""
        lines, told = report.take()
        if is_closed:
            lines += report.rest()
        self._logs += [(id, token, stream, text) for stream, text in lines]
        if told is not None:
            self._progress[id] = (id, token, told)


def _storable(text: str) -> str:
    return cut(text[:MOST_LINE_CHARACTERS], MOST_LINE_CHARACTERS)
