"""Keeps a service registered with its orchestrator, through everything that may happen to either."""

import asyncio
import enum
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from domain.errors import NotFound, ServiceError, Unauthorized
from domain.health import CheckResult, HealthState
from domain.orchestrator import Registered, RegistrationOptions, delay_seconds, ping_seconds
from domain.ports import Orchestrator

logger = logging.getLogger("millrace.registration")

READY_SECONDS, PAUSE_SECONDS = 30.0, 0.25
DEREGISTER_SECONDS = 5.0
REFUSED_SECONDS = 60.0


class State(enum.StrEnum):
    """How it stands between the service and its orchestrator."""

    STARTING = "starting"
    REGISTERED = "registered"
    RETRYING = "retrying"
    REFUSED = "refused"
    FAILED = "failed"


class Registration:
    """Registers a service once it answers, gives signs of life, and begins again when it was forgotten."""

    def __init__(
        self,
        service_id: str,
        info: Mapping[str, Any],
        options: RegistrationOptions,
        orchestrator: Orchestrator,
        own_url: Callable[[], str],
        token: str,
        on_failure: Callable[[], None],
    ) -> None:
        self.state = State.STARTING
        self.error: str | None = None
        self._may_be_known = False
        self._service_id = service_id
        self._info = info
        self._options = options
        self._orchestrator = orchestrator
        self._own_url = own_url
        self._token = token
        self._on_failure = on_failure

    async def check(self) -> CheckResult:
        """The health check: degraded while there is trouble, unhealthy when only a person can help."""
        if self.state in {State.REGISTERED, State.STARTING}:
            return CheckResult(HealthState.HEALTHY)
        is_lost = self.state in {State.REFUSED, State.FAILED}
        return CheckResult(HealthState.UNHEALTHY if is_lost else HealthState.DEGRADED, f"{self.state}: {self.error}")

    async def run(self) -> None:
        """Keep the service registered until this is canceled."""
        await self._until_ready()
        while True:
            registered = await self._register()
            if registered is None or not self._options.enable_keepalive or registered.ping_url is None:
                return
            await self._keep_alive(registered.ping_url, registered.ttl_seconds)
            # Not all services at once, for they were all forgotten at once.
            most = min(self._options.re_register_grace_period, 2 * self._options.keepalive_interval)
            await asyncio.sleep(random.uniform(0, most) / 2)  # noqa: S311

    async def stop(self) -> None:
        """Take the service off the list, if that can be done quickly."""
        if not self._may_be_known or not self._options.auto_deregister:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(DEREGISTER_SECONDS):
                try:
                    await self._orchestrator.deregister(self._service_id)
                except NotFound:
                    logger.info("the orchestrator did not know the service any more")
                except ServiceError as error:
                    logger.warning("the service could not be deregistered: %s", error)

    async def _until_ready(self) -> None:
        """The orchestrator asks back before it answers, so the service must be there first."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await self._orchestrator.is_ready(self._own_url(), self._token):
            if asyncio.get_running_loop().time() > deadline:
                logger.warning("the service does not answer at %s yet; it is registered all the same", self._own_url())
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _register(self) -> Registered | None:
        """Try until it is done; None when that is given up."""
        failures = 0
        while True:
            # Also when the answer is lost, or nobody waits for it any more.
            self._may_be_known = True
            try:
                registered = await self._orchestrator.register(self._service_id, self._info)
            except ServiceError as error:
                failures += 1
                self._trouble(State.REFUSED if isinstance(error, Unauthorized) else State.RETRYING, error)
                if self._options.fail_on_error and failures >= self._options.max_retries:
                    self.state = State.FAILED
                    logger.error("the service could not be registered and stops: %s", error)
                    self._on_failure()
                    return None
                is_refused = isinstance(error, Unauthorized)
                first = REFUSED_SECONDS if is_refused else self._options.retry_delay
                await asyncio.sleep(delay_seconds(failures, first, spread=random.random()))  # noqa: S311
            else:
                self._settled()
                return registered

    async def _keep_alive(self, url: str, ttl_seconds: float) -> None:
        """Give signs of life until the orchestrator has forgotten the service."""
        failures = 0
        while True:
            spread = random.random()  # noqa: S311
            pause = ping_seconds(self._options.keepalive_interval, ttl_seconds, spread=spread)
            await asyncio.sleep(pause if not failures else min(pause, delay_seconds(failures, 1.0, spread=spread)))
            try:
                await self._orchestrator.ping(url)
            except NotFound:
                logger.warning("the orchestrator has forgotten the service; it is registered again")
                self.state, self.error = State.RETRYING, "forgotten"
                return
            except ServiceError as error:
                failures += 1
                self._trouble(State.REFUSED if isinstance(error, Unauthorized) else State.RETRYING, error)
            else:
                failures = 0
                self._settled()

    def _trouble(self, state: State, error: ServiceError) -> None:
        if self.error != error.detail:
            logger.warning("registration: %s", error)
        self.state, self.error = state, error.detail

    def _settled(self) -> None:
        if self.state is not State.REGISTERED:
            logger.info("registered with the orchestrator")
        self.state, self.error = State.REGISTERED, None
