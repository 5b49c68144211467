"""`python -m tests.torture`: the long storm over each set-up, with its counts printed."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from tests.torture.report import Outcome
from tests.torture.setups import Stage, on_postgres, on_sqlite
from tests.torture.storm import Plan, Storm

SETUPS: dict[str, Callable[[Path], AbstractContextManager[Stage]]] = {
    "sqlite": on_sqlite,
    "postgresql": partial(on_postgres, repeated=3, longest_seconds=4.0),
}
JOBS_PER_KILL = 15
KILLS_PER_STALL, KILLS_PER_STOP = 20, 20


def main() -> int:
    """Torture; returns the exit code."""
    asked = _arguments()
    plan = Plan(
        seed=asked.seed,
        kills=asked.kills,
        jobs=asked.kills * JOBS_PER_KILL,
        stalls=asked.kills // KILLS_PER_STALL,
        stops=asked.kills // KILLS_PER_STOP,
    )
    try:
        return int(sum(_torture(name, plan) for name in asked.setup or SETUPS) > 0)
    except KeyboardInterrupt:
        return 130


def _torture(name: str, plan: Plan) -> int:
    """Torture one set-up and print what came of it; returns how much is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"{name}: SEED={plan.seed} KILLS={plan.kills}, about {plan.seconds + 30:.0f} s; logs in {folder}", flush=True)
    began = time.monotonic()
    outcome = asyncio.run(_tortured(name, folder, plan))
    print("\n".join(outcome.lines(f"{name}, {time.monotonic() - began:.0f} s")), flush=True)
    if not outcome.wrong:
        shutil.rmtree(folder)
    return len(outcome.wrong)


async def _tortured(name: str, folder: Path, plan: Plan) -> Outcome:
    with SETUPS[name](folder) as (company, outages):
        company.start()
        return await Storm(company, plan, outages).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--setup", action="append", choices=SETUPS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
