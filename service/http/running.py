"""What a started app holds for its handlers; empty until the lifespan has begun."""

import asyncio
from collections.abc import Mapping
from typing import Any

from domain.errors import Unavailable
from service.managers.background import Background
from service.managers.base import Manager
from service.managers.caching import Caching
from service.managers.charts import Charts
from service.managers.computations import Computations
from service.managers.modelling import Modelling


class Running:
    """The managers and the secret of one app. `draining` is set as soon as the server begins to stop."""

    def __init__(self) -> None:
        self.managers: dict[str, Manager[Any]] = {}
        self.secret = b""
        self.draining = asyncio.Event()
        self.opened_background: Background | None = None
        self.opened_modelling: Modelling | None = None
        self.opened_charts: Charts | None = None
        self.caching: Caching | None = None

    def open(
        self,
        managers: Mapping[str, Manager[Any]],
        secret: bytes,
        background: Background | None,
        modelling: Modelling | None,
        charts: Charts | None = None,
        caching: Caching | None = None,
    ) -> None:
        """Take what was opened."""
        self.managers = dict(managers)
        self.opened_modelling = modelling
        self.secret = secret
        self.opened_background = background
        self.opened_charts = charts
        self.caching = caching

    def close(self) -> None:
        """Forget what is about to be closed."""
        self.managers = {}
        self.opened_background = None
        self.opened_modelling = None
        self.opened_charts = None
        self.caching = None

    @property
    def cache(self) -> Computations:
        """What keeps results. Raises `Unavailable` before the start, after the stop, and without `with_cache`."""
        if self.caching is None:
            raise Unavailable("The service is not running, or has no cache: call with_cache() on the builder")
        return self.caching.computations

    @property
    def background(self) -> Background:
        """The managers of jobs. Raises `Unavailable` before the start and after the stop."""
        if self.opened_background is None:
            raise Unavailable("The service is not running")
        return self.opened_background

    @property
    def modelling(self) -> Modelling:
        """The managers around the model. Raises `Unavailable` before the start and after the stop."""
        if self.opened_modelling is None:
            raise Unavailable("The service is not running")
        return self.opened_modelling

    @property
    def charts(self) -> Charts:
        """What draws. Raises `Unavailable` before the start and after the stop."""
        if self.opened_charts is None:
            raise Unavailable("The service is not running")
        return self.opened_charts

    def manager(self, name: str) -> Manager[Any]:
        """The manager of a resource. Raises `Unavailable` before the start and after the stop."""
        try:
            return self.managers[name]
        except KeyError:
            raise Unavailable("The service is not running") from None
