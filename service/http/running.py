"""What a started app holds for its handlers; empty until the lifespan has begun."""

import asyncio
from typing import Any

from domain.errors import Unavailable
from service.managers.base import Manager


class Running:
    """The managers and the secret of one app. `draining` is set as soon as the server begins to stop."""

    def __init__(self) -> None:
        self.managers: dict[str, Manager[Any]] = {}
        self.secret = b""
        self.draining = asyncio.Event()

    def manager(self, name: str) -> Manager[Any]:
        """The manager of a resource. Raises `Unavailable` before the start and after the stop."""
        try:
            return self.managers[name]
        except KeyError:
            raise Unavailable("The service is not running") from None
