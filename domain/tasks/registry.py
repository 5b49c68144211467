"""The tasks that one service has."""

from collections.abc import Iterator, Sequence

from domain.errors import Misconfigured, NotFound, cut
from domain.query.resource import suggestion
from domain.tasks.definition import Task


class Tasks:
    """The tasks of a service by kind."""

    def __init__(self, tasks: Sequence[Task] = ()) -> None:
        self._tasks: dict[str, Task] = {}
        for item in tasks:
            if not isinstance(item, Task):
                raise Misconfigured(f"with_tasks({item!r}): decorate the function with @task()")
            if item.kind in self._tasks:
                raise Misconfigured(f"two tasks have the kind {item.kind!r}: give each its own")
            self._tasks[item.kind] = item

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def offered(self) -> "Tasks":
        """Those that clients may submit."""
        return Tasks([item for item in self if not item.is_internal])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds there are."""
        return tuple(self._tasks)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that the tasks go to, in the order of their first use."""
        return tuple(dict.fromkeys(item.queue for item in self))

    def find(self, kind: str) -> Task | None:
        """The task of a kind, or None."""
        return self._tasks.get(kind)

    def get(self, kind: str) -> Task:
        """The task of a kind. Raises `NotFound`."""
        found = self._tasks.get(kind)
        if found is None:
            known = f"; there are: {', '.join(self._tasks) or 'none'}"
            raise NotFound(f'There is no task "{cut(kind)}"{suggestion(kind[:100], self._tasks) or known}')
        return found
