"""What a model author brings: two functions, a class, two commands, or several of these as one."""

from typing import Any

from domain.errors import Misconfigured
from domain.models.base import BaseModelRunner
from domain.models.ensemble import EnsembleConfig, EnsembleRunner, MemberRunner
from domain.models.functional import FunctionalModelRunner
from domain.models.remote import RemoteModelRunner
from domain.models.running import current_run, running_job
from domain.models.shell import ShellModelRunner

__all__ = [
    "BaseModelRunner",
    "EnsembleConfig",
    "EnsembleRunner",
    "FunctionalModelRunner",
    "MemberRunner",
    "ModelRunner",
    "RemoteModelRunner",
    "ShellModelRunner",
    "check_runner",
    "current_run",
    "running_job",
]

ModelRunner = MemberRunner | EnsembleRunner


def check_runner(runner: Any) -> None:
    """Raise `Misconfigured` for what is no runner."""
    if not isinstance(runner, ModelRunner):
        raise Misconfigured(
            f"{runner!r} is no runner of a model: give a FunctionalModelRunner, a ShellModelRunner, an EnsembleRunner, "
            "or an instance of a class that derives from BaseModelRunner"
        )
