"""How a service introduces itself."""

import enum
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from domain.errors import Misconfigured

DEFAULT_TARGET = "disease_cases"

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_REVISION = re.compile(r"[0-9a-fA-F]{7,40}")


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of a service as `/api/v1/info` shows it.

    `id` is lower-case words joined by hyphens (`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`). Raises `Misconfigured` otherwise.
    """

    id: str
    display_name: str
    version: str = "1.0.0"
    description: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise Misconfigured(
                f"ServiceInfo.id is {self.id!r}: use lower-case letters and digits in words joined by hyphens, "
                'such as "accounts" or "malaria-model"'
            )
        if not self.display_name.strip():
            raise Misconfigured("ServiceInfo.display_name is empty: give the service a name people can read")


class PeriodType(enum.StrEnum):
    """The periods that a model works with."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    ANY = "any"


class AssessedStatus(enum.StrEnum):
    """How far a model may be trusted, by the judgement of its author."""

    GRAY = "gray"
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who has made a model, and what else people should know of it. Raises `Misconfigured`.

    A URL without a path gets the `/` that it stands for.
    """

    author: str | None = None
    author_note: str | None = None
    author_assessed_status: AssessedStatus | None = None
    contact_email: str | None = None
    organization: str | None = None
    organization_logo_url: str | None = None
    citation_info: str | None = None
    repository_url: str | None = None
    documentation_url: str | None = None

    def __post_init__(self) -> None:
        if self.author_assessed_status is not None:
            _set(self, "author_assessed_status", _member(self, "author_assessed_status", AssessedStatus))
        if self.contact_email is not None and not _EMAIL.fullmatch(self.contact_email):
            raise Misconfigured(
                f"ModelMetadata.contact_email is {self.contact_email!r}: give an address such as a@b.org"
            )
        for name in ("organization_logo_url", "repository_url", "documentation_url"):
            if (url := getattr(self, name)) is not None:
                _set(self, name, _web_address(name, url))


class MLServiceInfo(ServiceInfo, frozen=True, kw_only=True):
    """Identity of a service around a model. Horizons are numbers of periods. Raises `Misconfigured`.

    `git_revision` is that of the model's code; without it `GIT_REVISION` of the environment counts.
    """

    model_metadata: ModelMetadata
    period_type: PeriodType
    min_prediction_periods: int = 0
    max_prediction_periods: int = 100
    allow_free_additional_continuous_covariates: bool = False
    required_covariates: list[str] = []
    requires_geo: bool = False
    git_revision: str | None = None
    target: str = DEFAULT_TARGET
    hpo_search_space: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "period_type", _member(self, "period_type", PeriodType))
        if self.min_prediction_periods < 0:
            raise Misconfigured(f"MLServiceInfo.min_prediction_periods is {self.min_prediction_periods}: at least 0")
        if self.max_prediction_periods < self.min_prediction_periods:
            raise Misconfigured(
                f"MLServiceInfo.max_prediction_periods is {self.max_prediction_periods}: "
                f"at least min_prediction_periods, which is {self.min_prediction_periods}"
            )
        if self.git_revision is not None and not is_revision(self.git_revision):
            raise Misconfigured(
                f"MLServiceInfo.git_revision is {self.git_revision!r}: 7 to 40 hexadecimal digits of a commit"
            )


def is_revision(text: str) -> bool:
    """Whether `text` names a commit: 7 to 40 hexadecimal digits."""
    return _REVISION.fullmatch(text) is not None


def info_document(info: ServiceInfo, code_revision: str | None = None) -> dict[str, Any]:
    """What `/api/v1/info` shows.

    Older clients take exactly the base members, so the others are there only when they say something.
    """
    document = registration_document(info, code_revision)
    for name, silent in {"git_revision": None, "target": DEFAULT_TARGET, "hpo_search_space": None}.items():
        if document.get(name, silent) == silent:
            document.pop(name, None)
    return document


def registration_document(info: ServiceInfo, code_revision: str | None = None) -> dict[str, Any]:
    """What an orchestrator is told: every member."""
    document: dict[str, Any] = msgspec.to_builtins(info)
    if isinstance(info, MLServiceInfo):
        document["git_revision"] = info.git_revision or code_revision
    return document


def _member(holder: Any, name: str, kind: type[enum.StrEnum]) -> enum.StrEnum:
    value = getattr(holder, name)
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(kind)
        raise Misconfigured(f"{type(holder).__name__}.{name} is {value!r}: use one of {allowed}") from None


def _web_address(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured(f"ModelMetadata.{name} is {url!r}: give an address such as https://example.org/model")
    return url if parts.path else parts._replace(path="/").geturl()


def _set(holder: Any, name: str, value: Any) -> None:
    msgspec.structs.force_setattr(holder, name, value)
