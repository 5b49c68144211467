"""A service introduces itself with an id machines and a name people can use."""

from typing import Any

import pytest

from domain.errors import Misconfigured
from domain.registration import (
    AssessedStatus,
    MLServiceInfo,
    ModelMetadata,
    PeriodType,
    ServiceInfo,
    info_document,
    registration_document,
)


@pytest.mark.parametrize("id", ["accounts", "malaria-model", "v2", "a-1-b"])
def test_an_id_is_words_joined_by_hyphens(id: str) -> None:
    assert ServiceInfo(id=id, display_name="Accounts").id == id


@pytest.mark.parametrize("id", ["", "Accounts", "2a", "a--b", "-a", "a-", "a_b", "a b", "ä", "a\n"])
def test_any_other_id_is_refused_with_an_example(id: str) -> None:
    with pytest.raises(Misconfigured, match="malaria-model"):
        ServiceInfo(id=id, display_name="Accounts")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_service_has_a_name(name: str) -> None:
    with pytest.raises(Misconfigured, match="display_name is empty"):
        ServiceInfo(id="accounts", display_name=name)


BASE = [
    "id",
    "display_name",
    "version",
    "description",
    "model_metadata",
    "period_type",
    "min_prediction_periods",
    "max_prediction_periods",
    "allow_free_additional_continuous_covariates",
    "required_covariates",
    "requires_geo",
]
"""Exactly what older clients take, in their order; one member more, and they do not recognise the service."""

METADATA = [
    "author",
    "author_note",
    "author_assessed_status",
    "contact_email",
    "organization",
    "organization_logo_url",
    "citation_info",
    "repository_url",
    "documentation_url",
]


def model(**fields: Any) -> MLServiceInfo:
    given = {"model_metadata": ModelMetadata(), "period_type": PeriodType.MONTHLY, **fields}
    return MLServiceInfo(id="mean-model", display_name="Mean", **given)


def test_a_model_shows_exactly_the_base_members_by_default() -> None:
    document = info_document(model())
    assert list(document) == BASE
    assert list(document["model_metadata"]) == METADATA
    assert set(document["model_metadata"].values()) == {None}


@pytest.mark.parametrize(
    "fields, code_revision, extra",
    [
        ({"git_revision": "0123abc"}, None, {"git_revision": "0123abc"}),
        ({}, "fedcba9", {"git_revision": "fedcba9"}),
        ({"git_revision": "0123abc"}, "fedcba9", {"git_revision": "0123abc"}),
        ({"target": "deaths"}, None, {"target": "deaths"}),
        ({"hpo_search_space": {"a": [1]}}, None, {"hpo_search_space": {"a": [1]}}),
    ],
)
def test_the_other_members_are_shown_when_they_say_something(
    fields: dict[str, Any], code_revision: str | None, extra: dict[str, Any]
) -> None:
    document = info_document(model(**fields), code_revision)
    assert list(document) == [*BASE, *extra]
    assert {name: document[name] for name in extra} == extra


def test_an_orchestrator_is_told_every_member() -> None:
    document = registration_document(model())
    assert list(document) == [*BASE, "git_revision", "target", "hpo_search_space"]
    assert (document["git_revision"], document["target"]) == (None, "disease_cases")


def test_a_service_without_a_model_has_four_members() -> None:
    plain = ServiceInfo(id="accounts", display_name="Accounts")
    expected = {"id": "accounts", "display_name": "Accounts", "version": "1.0.0", "description": None}
    assert info_document(plain, "fedcba9") == registration_document(plain, "fedcba9") == expected


def test_words_become_members_and_a_bare_host_gets_its_path() -> None:
    metadata = ModelMetadata(
        author_assessed_status="yellow",  # type: ignore[arg-type]
        repository_url="https://example.org",
        documentation_url="https://example.org/model",
    )
    assert metadata.author_assessed_status is AssessedStatus.YELLOW
    assert (metadata.repository_url, metadata.documentation_url) == (
        "https://example.org/",
        "https://example.org/model",
    )
    assert model(period_type="weekly").period_type is PeriodType.WEEKLY


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"author_assessed_status": "blue"}, "use one of gray, red, orange, yellow, green"),
        ({"contact_email": "nobody"}, "contact_email is 'nobody'"),
        ({"organization_logo_url": "logo.png"}, "organization_logo_url is 'logo.png'"),
        ({"repository_url": "ftp://example.org"}, "repository_url is 'ftp://example.org'"),
        ({"documentation_url": "https://[x"}, "documentation_url is 'https://"),
    ],
)
def test_metadata_that_clients_would_refuse_is_refused_here(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        ModelMetadata(**fields)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"period_type": "daily"}, "use one of weekly, monthly, any"),
        ({"min_prediction_periods": -1}, "min_prediction_periods is -1: at least 0"),
        ({"min_prediction_periods": 5, "max_prediction_periods": 4}, "max_prediction_periods is 4"),
        ({"git_revision": "main"}, "7 to 40 hexadecimal digits"),
    ],
)
def test_a_model_that_clients_would_refuse_is_refused_here(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        model(**fields)
