"""Everything that comes from the environment, read in one place."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from domain.errors import Misconfigured
from domain.registration import is_revision

LOG_FORMATS = ("console", "json")
WORKERS_IN_SERVICE = ("auto", "true", "false")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can change without touching code; docs/configuration.md lists every variable."""

    home: Path = Path("var")
    storage_folder: Path | None = None
    temporary_folder: Path | None = None
    database_url: str | None = None
    redis_url: str | None = None
    worker: str = "auto"
    is_migrating_on_start: bool = True
    secret_key: str | None = None
    code_revision: str | None = None
    log_format: str = "console"
    log_level: str = "INFO"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    metrics_port: int | None = None

    @property
    def scratch(self) -> Path:
        """The folder in which runs of models have their files."""
        return self.temporary_folder or Path(tempfile.gettempdir()) / "millrace"

    @property
    def storage(self) -> Path:
        """The folder of stored content."""
        return self.storage_folder or self.home / "storage"

    @property
    def is_working(self) -> bool:
        """Whether the service itself runs jobs: by default when there is no Redis to wake workers elsewhere."""
        return self.redis_url is None if self.worker == "auto" else self.worker == "true"


def from_env(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. Raises `Misconfigured` naming the variable, its value and what is allowed."""
    defaults = Settings()
    return Settings(
        home=Path(environment.get("MILLRACE_HOME") or defaults.home),
        storage_folder=_path(environment, "MILLRACE_STORAGE"),
        temporary_folder=_path(environment, "MILLRACE_TEMP"),
        database_url=environment.get("DATABASE_URL") or None,
        redis_url=environment.get("REDIS_URL") or None,
        worker=_choice(environment, "MILLRACE_WORKER", WORKERS_IN_SERVICE, defaults.worker, fold=str.lower),
        is_migrating_on_start=_flag(environment, "MILLRACE_MIGRATE", default=True),
        secret_key=environment.get("MILLRACE_SECRET_KEY") or None,
        code_revision=_revision(environment, "GIT_REVISION"),
        log_format=_choice(environment, "LOG_FORMAT", LOG_FORMATS, defaults.log_format, fold=str.lower),
        log_level=_choice(environment, "LOG_LEVEL", LOG_LEVELS, defaults.log_level, fold=str.upper),
        host=environment.get("HOST") or defaults.host,
        port=_number(environment, "PORT", defaults.port, 0, 65535),
        workers=_number(environment, "WORKERS", defaults.workers, 1, 256),
        metrics_port=_number(environment, "MILLRACE_METRICS_PORT", 0, 1, 65535) or None,
    )


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    return Path(value) if value else None


def _revision(environment: Mapping[str, str], name: str) -> str | None:
    value = environment.get(name) or None
    if value is not None and not is_revision(value):
        raise Misconfigured(f"{name}={value!r}: use the 7 to 40 hexadecimal digits of a commit")
    return value


def _choice(
    environment: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str, *, fold: Callable[[str], str]
) -> str:
    value = fold(environment.get(name) or default)
    if value not in allowed:
        raise Misconfigured(f"{name}={value!r}: use one of {', '.join(allowed)}")
    return value


def _flag(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = (environment.get(name) or "").lower()
    if value in {"", "1", "true", "yes", "on", "0", "false", "no", "off"}:
        return default if not value else value in {"1", "true", "yes", "on"}
    raise Misconfigured(f"{name}={value!r}: use true or false")


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = environment.get(name) or ""
    if not value:
        return default
    if value.isascii() and value.isdigit() and low <= int(value) <= high:
        return int(value)
    raise Misconfigured(f"{name}={value!r}: use a whole number from {low} to {high}")
