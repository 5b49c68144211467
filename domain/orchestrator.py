"""How a service makes itself known to an orchestrator: where, as whom, and how patiently."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from domain.errors import Misconfigured

LONGEST_DELAY_SECONDS = 60.0
LEAST_TTL_SECONDS = 3.0
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

    def ping_url(self, service_id: str, told: str | None) -> str:
        """Where signs of life go: where the orchestrator says, if that is itself; nobody else gets the key."""
        is_own = told is not None and is_url(told) and _origin(told) == _origin(self.register_url)
        return told if told is not None and is_own else f"{self.deregister_url(service_id)}/$ping"

    def deregister_url(self, service_id: str) -> str:
        """Where the service is taken off the list."""
        return f"{self.register_url.removesuffix(REGISTER)}/{service_id}"


def destination(
    options: RegistrationOptions, environment: Mapping[str, str], hostname: str, served_port: int = DEFAULT_PORT
) -> Destination | None:
    """Where to register, or None when nobody has said so. Raises `Misconfigured` for a URL or a key that is none."""
    url = options.orchestrator_url or environment.get(options.orchestrator_url_env)
    if not url:
        return None
    check_url(url, f"{options.orchestrator_url_env}={url!r}")
    host = options.host or environment.get(options.host_env) or hostname
    port = options.port or _port(environment.get(options.port_env), served_port or DEFAULT_PORT)
    return Destination(
        register_url=url,
        service_url=options.service_url or f"http://{host}:{port}",
        key=_key(options.service_key or environment.get(options.service_key_env) or "", options.service_key_env),
    )


def _port(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and 0 < int(text) < 65536 else otherwise


def _key(text: str, name: str) -> str | None:
    # The end of a line comes along when it was read from a file.
    key = text.strip()
    if not (key.isascii() and key.isprintable()):
        raise Misconfigured(f"the service key ({name}) has characters that no header can hold: use printable ASCII")
    return key or None


def check_url(url: str, where: str) -> None:
    """Raise `Misconfigured` for what is no address of a server."""
    if not is_url(url):
        raise Misconfigured(f"{where}: give an address such as http://orchestrator:8000/v2/services/$register")


def is_url(url: str) -> bool:
    """Whether `url` is the address of something on a web server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Half an IPv6 address, or a port beyond the last one.
        return False


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def delay_seconds(failures: int, first: float, *, spread: float) -> float:
    """How long to wait after so many failures: somewhere up to twice as long each time; `spread` is from 0 to 1."""
    ceiling = min(first * 2.0 ** min(failures - 1, 16), LONGEST_DELAY_SECONDS)
    return ceiling * (0.5 + spread / 2)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What an orchestrator answers; it forgets the service unless `ping_url` is asked for within `ttl_seconds`.

    Without a `ping_url` the usual one counts.
    """

    ping_url: str | None = None
    ttl_seconds: float = 30.0


def ping_seconds(interval: float, ttl_seconds: float, *, spread: float) -> float:
    """How long until the next sign of life: early enough for two of them to be lost."""
    return min(interval, max(ttl_seconds, LEAST_TTL_SECONDS) / 3) * (0.9 + 0.1 * spread)
