"""What the operating system does for a run: ends it along with its parent, and limits its memory."""

import ctypes
import functools
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MIB = 1024 * 1024
# Where the search for inherited descriptors ends; those in use are the lowest.
MOST_FDS = 65_536


class OverLimit(MemoryError):
    """The memory that a task may use is taken before it has begun."""


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """On Linux: get this signal when the parent ends, and end now if it has ended already."""
    _prctl()(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """On Linux: become the parent of whatever this process' children leave behind, so that somebody reaps it."""
    _prctl()(PR_SET_CHILD_SUBREAPER, 1)


def close_others(keep: int) -> None:
    """Close what a parent has passed on by accident (a listening socket, say): all but the standard streams and `keep`.

    uvloop does not do so when it starts a process, whatever it is told.
    """
    os.closerange(3, keep)
    os.closerange(keep + 1, MOST_FDS)


def kill_group(pid: int, number: int = signal.SIGKILL) -> bool:
    """Signal all processes of the group that `pid` leads; False when there is none."""
    try:
        os.killpg(pid, number)
    # macOS says so of a group whose only member is waiting to be reaped.
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_rest_of_group() -> None:
    """Kill every process of this process' group but itself; on Linux only, for others do not list their processes."""
    own, group = os.getpid(), os.getpgrp()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(ProcessLookupError, PermissionError):
            if pid != own and os.getpgid(pid) == group:
                os.kill(pid, signal.SIGKILL)


@contextmanager
def limited(memory_mib: int | None) -> Iterator[None]:
    """A block that gets a `MemoryError` when the data of this process would become more than `memory_mib`.

    Raises `OverLimit` when that is so from the beginning. After the block there is memory again to say what happened.
    """
    if memory_mib is None:
        yield
        return
    taken = data_bytes()
    if taken >= memory_mib * MIB:
        raise OverLimit(
            f"over the limit of {memory_mib} MiB before the task began: its modules alone take {taken // MIB} MiB"
        )
    former, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mib * MIB
    # What is tighter already stays so.
    limit = min([limit, *(bound for bound in (former, most) if bound != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (former, most))


def data_bytes() -> int:
    """What RLIMIT_DATA counts of this process: private memory it may write to, touched or not; 0 where unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


@functools.cache
def _prctl() -> Callable[[int, int], int]:
    if sys.platform != "linux":
        return lambda option, value: 0
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return prctl
