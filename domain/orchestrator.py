"""How a service makes itself known to an orchestrator: where, as whom, and how patiently."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from domain.errors import Misconfigured

LONGEST_DELAY_SECONDS = 60.0
DEFAULT_PORT = 8000
REGISTER = "/$register"


class RegistrationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `with_registration` was told; all durations are seconds.

    What is None comes from the environment: the orchestrator's URL, this service's host and port as others reach it,
    and the key. `service_url` says all of that at once, for instance for https. `local_port` is where this machine
    reaches the service.
    """

    orchestrator_url: str | None = None
    host: str | None = None
    port: int | None = None
    orchestrator_url_env: str = "SERVICEKIT_ORCHESTRATOR_URL"
    host_env: str = "SERVICEKIT_HOST"
    port_env: str = "SERVICEKIT_PORT"
    max_retries: int = 5
    retry_delay: float = 2.0
    fail_on_error: bool = False
    timeout: float = 10.0
    enable_keepalive: bool = True
    keepalive_interval: float = 10.0
    auto_deregister: bool = True
    service_key: str | None = None
    service_key_env: str = "SERVICEKIT_REGISTRATION_KEY"
    re_register_grace_period: float = 30.0
    local_port: int | None = None
    service_url: str | None = None

    def __post_init__(self) -> None:
        for name in ("retry_delay", "timeout", "keepalive_interval"):
            if not getattr(self, name) > 0:
                raise Misconfigured(f"with_registration({name}={getattr(self, name)}): more than 0 seconds")
        if self.max_retries < 1:
            raise Misconfigured(f"with_registration(max_retries={self.max_retries}): at least 1")
        for name in ("orchestrator_url", "service_url"):
            if (url := getattr(self, name)) is not None:
                check_url(url, f"with_registration({name}={url!r})")


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where to register, and what to say."""

    register_url: str
    service_url: str
    key: str | None

    def deregister_url(self, service_id: str) -> str:
        """Where the service is taken off the list."""
        return f"{self.register_url.removesuffix(REGISTER)}/{service_id}"


def destination(options: RegistrationOptions, environment: Mapping[str, str], hostname: str) -> Destination | None:
    """Where to register, or None when nobody has said so. Raises `Misconfigured` for a URL that is none."""
    url = options.orchestrator_url or environment.get(options.orchestrator_url_env)
    if not url:
        return None
    check_url(url, f"{options.orchestrator_url_env}={url!r}")
    host = options.host or environment.get(options.host_env) or hostname
    port = options.port or _port(environment.get(options.port_env))
    return Destination(
        register_url=url,
        service_url=options.service_url or f"http://{host}:{port}",
        key=options.service_key or environment.get(options.service_key_env) or None,
    )


def _port(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and 0 < int(text) < 65536 else DEFAULT_PORT


def check_url(url: str, where: str) -> None:
    """Raise `Misconfigured` for what is no address of a server."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured(f"{where}: give an address such as http://orchestrator:8000/v2/services/$register")


def delay_seconds(failures: int, first: float, *, spread: float) -> float:
    """How long to wait after so many failures: somewhere up to twice as long each time; `spread` is from 0 to 1."""
    ceiling = min(first * 2.0 ** min(failures - 1, 16), LONGEST_DELAY_SECONDS)
    return ceiling * (0.5 + spread / 2)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What an orchestrator answers; it forgets the service unless `ping_url` is asked for within `ttl_seconds`."""

    ping_url: str | None = None
    ttl_seconds: float = 30.0


def ping_seconds(interval: float, ttl_seconds: float, *, spread: float) -> float:
    """How long until the next sign of life: early enough for two of them to be lost."""
    return min(interval, max(ttl_seconds, 0.3) / 3) * (0.9 + 0.1 * spread)
