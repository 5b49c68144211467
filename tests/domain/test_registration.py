"""A service introduces itself with an id machines and a name people can use."""

import pytest

from domain.errors import Misconfigured
from domain.registration import ServiceInfo


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
