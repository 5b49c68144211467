"""The environment: what is read, and the sentence for what cannot be."""

from pathlib import Path

import pytest

from domain.errors import Misconfigured
from service.settings import Settings, from_env


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_env({}) == Settings()
    assert from_env({"PORT": "", "LOG_FORMAT": "", "MILLRACE_HOME": "", "MILLRACE_MIGRATE": ""}) == Settings()


def test_every_variable_is_read() -> None:
    environment = {
        "MILLRACE_HOME": "/data",
        "MILLRACE_STORAGE": "/content",
        "DATABASE_URL": "sqlite:///x.db",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "MILLRACE_WORKER": "True",
        "MILLRACE_MIGRATE": "No",
        "MILLRACE_SECRET_KEY": "k",
        "GIT_REVISION": "0ce75eb",
        "LOG_FORMAT": "JSON",
        "LOG_LEVEL": "debug",
        "HOST": "0.0.0.0",
        "PORT": "0",
        "WORKERS": "4",
        "MILLRACE_METRICS_PORT": "9100",
    }
    assert from_env(environment) == Settings(
        home=Path("/data"),
        storage_folder=Path("/content"),
        database_url="sqlite:///x.db",
        redis_url="redis://127.0.0.1:6379/0",
        worker="true",
        is_migrating_on_start=False,
        secret_key="k",
        code_revision="0ce75eb",
        log_format="json",
        log_level="DEBUG",
        host="0.0.0.0",
        port=0,
        workers=4,
        metrics_port=9100,
    )


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("PORT", "http", "from 0 to 65535"),
        ("PORT", "65536", "from 0 to 65535"),
        ("PORT", "-1", "from 0 to 65535"),
        ("WORKERS", "0", "from 1 to 256"),
        ("MILLRACE_METRICS_PORT", "0", "from 1 to 65535"),
        ("LOG_FORMAT", "xml", "console, json"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR"),
        ("MILLRACE_MIGRATE", "maybe", "true or false"),
        ("MILLRACE_WORKER", "perhaps", "auto, true, false"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        from_env({name: value})
    assert name in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    "settings, is_working",
    [
        (Settings(), True),
        (Settings(redis_url="redis://r"), False),
        (Settings(redis_url="redis://r", worker="true"), True),
        (Settings(worker="false"), False),
    ],
)
def test_a_service_runs_jobs_unless_a_redis_can_wake_others_or_somebody_decides(
    settings: Settings, is_working: bool
) -> None:
    assert settings.is_working is is_working
