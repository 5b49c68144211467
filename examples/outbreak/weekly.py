"""What is done every Monday: train, try on the past, promote the best, forecast with it, and draw that."""

from contextlib import suppress

import districts
from domain.errors import Conflict
from domain.pipelines import PIPELINE, Pipeline, PipelineData
from service.http.application import Service

MODEL = "outbreak"
HORIZON = 12


def load() -> PipelineData:
    """What is known by now, and the climate of the months to come. A real service would ask its database."""
    known, future, _ = districts.split(districts.observed(), HORIZON)
    return PipelineData(data=known, future=future, geo=districts.geometry())


WEEKLY = Pipeline(
    "weekly",
    load,
    model=MODEL,
    candidates={
        "seasonal": {"members": ["seasonal"], "prediction_periods": HORIZON},
        "regression": {"members": ["regression"], "prediction_periods": HORIZON},
        "ensemble": {"members": ["seasonal", "regression"], "prediction_periods": HORIZON},
    },
    horizon=HORIZON,
    splits=3,
    stride=6,
    gate="crps <= champion.crps",
    charts=("fan", "choropleth", "skill", "calibration"),
)


async def plan(app: Service) -> None:
    """Have it done every Monday morning, unless that is planned already."""
    monday = {"name": "every Monday", "task": PIPELINE, "args": {"name": WEEKLY.name}, "cron": "0 6 * * MON"}
    with suppress(Conflict):
        await app.schedules.create(monday)
