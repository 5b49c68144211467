"""Tasks: functions that run as jobs, what they take, and how they are to be run."""

from domain.tasks.decorator import task
from domain.tasks.definition import Task
from domain.tasks.keys import filled
from domain.tasks.registry import Tasks
from domain.tasks.resolution import REFERENCE, references, resolved
from domain.tasks.running import MOST_RESULT_BYTES, Artifact, Canceled, RunningJob, Send

__all__ = [
    "MOST_RESULT_BYTES",
    "REFERENCE",
    "Artifact",
    "Canceled",
    "RunningJob",
    "Send",
    "Task",
    "Tasks",
    "filled",
    "references",
    "resolved",
    "task",
]
