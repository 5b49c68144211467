"""Health: the worst state counts, and names are identifiers."""

import msgspec
import pytest

from domain.errors import Misconfigured
from domain.health import CheckResult, HealthState, HealthStatus, aggregate, check_names

GOOD, SO_SO, BAD = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY


@pytest.mark.parametrize(
    "states, expected",
    [
        ([], GOOD),
        ([GOOD], GOOD),
        ([SO_SO], SO_SO),
        ([BAD], BAD),
        ([GOOD, SO_SO], SO_SO),
        ([BAD, SO_SO, GOOD], BAD),
        ([GOOD, BAD], BAD),
    ],
)
def test_a_service_is_as_well_as_its_worst_check(states: list[HealthState], expected: HealthState) -> None:
    assert aggregate(states) is expected
    assert aggregate(reversed(states)) is expected


async def fine() -> CheckResult:
    return CheckResult(GOOD)


@pytest.mark.parametrize("name", ["database", "Disk_2", "a-b"])
def test_a_check_may_be_named_like_an_identifier(name: str) -> None:
    check_names({name: fine})


@pytest.mark.parametrize("name", ["", "two words", "a/b", "größe", "a\n"])
def test_any_other_name_of_a_check_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="use letters, digits"):
        check_names({"database": fine, name: fine})


async def test_absent_parts_of_a_status_are_left_out() -> None:
    assert msgspec.to_builtins(HealthStatus(GOOD)) == {"status": "healthy"}
    status = HealthStatus(BAD, {"disk": CheckResult(BAD, "full"), "fine": await fine()})
    assert msgspec.to_builtins(status) == {
        "status": "unhealthy",
        "checks": {"disk": {"state": "unhealthy", "message": "full"}, "fine": {"state": "healthy"}},
    }
