"""The managers of background work, as the rest of a service is given them."""

import msgspec

from domain.tasks import Tasks
from service.managers.graphs import GraphManager
from service.managers.jobs import Jobs
from service.managers.schedules import ScheduleManager


class Background(msgspec.Struct, frozen=True, kw_only=True):
    """What a service with jobs can do in the background."""

    tasks: Tasks
    jobs: Jobs
    graphs: GraphManager
    schedules: ScheduleManager
