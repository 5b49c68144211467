"""Workers: how they work, what is allowed there, and what they say of themselves."""

import msgspec

from domain.errors import Misconfigured

DEFAULT_CONCURRENCY = 100


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works.

    `concurrency` jobs run at a time, of those with a process of their own at most `processes`. `poll_seconds` is how
    often it looks for jobs that nobody has rung for. A lease of `lease_seconds` is kept for as long as the worker
    lives; a job that has lost its worker `max_losses` times is dead. A worker that stops lets its jobs go on for
    `grace_seconds` before it hands them back. No more is taken on from clients while `max_waiting` jobs wait.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = DEFAULT_CONCURRENCY
    processes: int = 2
    poll_seconds: float = 1.0
    lease_seconds: float = 15.0
    max_losses: int = 3
    grace_seconds: float = 10.0
    max_waiting: int = 1_000_000

    @property
    def risky_losses(self) -> int | None:
        """After how many lost workers a job is risky, for it would die with the next one: who knows whether it was the
        one that ended the others. With `max_losses` of 1 every job would be risky, so none is.
        """
        return self.max_losses - 1 if self.max_losses > 1 else None


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as it reports itself: the queues it takes jobs of, the kinds it knows, how many it runs at a time.

    `processes` is how many of those may have a process of their own, `busy_processes` how many have.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    kinds: tuple[str, ...]
    concurrency: int
    running: int = 0
    is_draining: bool = False
    processes: int = 1
    busy_processes: int = 0


def check_options(options: WorkerOptions) -> None:
    """Raise `Misconfigured` naming the option, its value and what is allowed."""
    least = {
        "max_concurrency": (options.concurrency, 1),
        "max_processes": (options.processes, 1),
        "poll_seconds": (options.poll_seconds, 0.01),
        "lease_seconds": (options.lease_seconds, 2.0),
        "max_losses": (options.max_losses, 1),
        "grace_seconds": (options.grace_seconds, 0.0),
        "max_waiting": (options.max_waiting, 1),
    }
    for name, (value, low) in least.items():
        # So that what is no number at all is refused too.
        if not value >= low:
            raise Misconfigured(f"with_jobs({name}={value}): at least {low:g}")
