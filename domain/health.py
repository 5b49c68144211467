"""Health of a service: states of single checks and how they add up."""

import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from domain.errors import Misconfigured

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class HealthState(enum.StrEnum):
    """The three states clients know."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one check found; `message` says why when it is not healthy."""

    state: HealthState
    message: str | None = None


class HealthStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `/health`; `checks` is absent when none are configured."""

    status: HealthState
    checks: dict[str, CheckResult] | None = None


HealthCheck = Callable[[], Awaitable[CheckResult]]

_WORST_FIRST = (HealthState.UNHEALTHY, HealthState.DEGRADED)


def aggregate(states: Iterable[HealthState]) -> HealthState:
    """The worst of `states`; healthy when there are none."""
    present = set(states)
    return next((state for state in _WORST_FIRST if state in present), HealthState.HEALTHY)


def check_names(checks: Mapping[str, HealthCheck]) -> None:
    """Raise `Misconfigured` for a check name that clients could not use as an identifier."""
    for name in checks:
        if not _NAME.fullmatch(name):
            raise Misconfigured(f"health check {name!r}: use letters, digits, '_' and '-' only")
