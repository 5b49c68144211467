"""Everything that comes from the environment, read in one place."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from domain.errors import Misconfigured

LOG_FORMATS = ("console", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can change without touching code; docs/configuration.md lists every variable."""

    home: Path = Path("var")
    database_url: str | None = None
    is_migrating_on_start: bool = True
    secret_key: str | None = None
    log_format: str = "console"
    log_level: str = "INFO"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1


def from_env(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. Raises `Misconfigured` naming the variable, its value and what is allowed."""
    defaults = Settings()
    return Settings(
        home=Path(environment.get("MILLRACE_HOME") or defaults.home),
        database_url=environment.get("DATABASE_URL") or None,
        is_migrating_on_start=_flag(environment, "MILLRACE_MIGRATE", default=True),
        secret_key=environment.get("MILLRACE_SECRET_KEY") or None,
        log_format=_choice(environment, "LOG_FORMAT", LOG_FORMATS, defaults.log_format, fold=str.lower),
        log_level=_choice(environment, "LOG_LEVEL", LOG_LEVELS, defaults.log_level, fold=str.upper),
        host=environment.get("HOST") or defaults.host,
        port=_number(environment, "PORT", defaults.port, 0, 65535),
        workers=_number(environment, "WORKERS", defaults.workers, 1, 256),
    )


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
