"""The storm, a short one over each set-up; `make torture` is the long one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.torture.setups import Stage, on_postgres, on_sqlite
from tests.torture.storm import Plan, Storm

pytestmark = pytest.mark.usefixtures("lost_job")
PLAN = Plan(seed=1, kills=8, jobs=150, stalls=1, stops=1, calm=0.7, rest=1.0)


@pytest.mark.parametrize("raised", [on_sqlite, on_postgres], ids=["sqlite", "postgresql"])
async def test_nothing_is_lost_or_done_twice_in_a_storm(
    raised: Callable[[Path], AbstractContextManager[Stage]], tmp_path: Path
) -> None:
    with raised(tmp_path) as (company, outages):
        company.start()
        outcome = await Storm(company, PLAN, outages).run()
    assert outcome.wrong == []
    assert outcome.counts["… of them ended"] == outcome.counts["jobs accepted"] >= PLAN.jobs
    assert outcome.counts["runs that lost their worker"] > 0
