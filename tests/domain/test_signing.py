"""Signatures hold for one secret, one purpose and one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.signing import digest, is_signed, signature

SECRET = b"secret"


@given(secret=st.binary(min_size=1), purpose=st.text("abc"), text=st.text())
def test_what_was_signed_is_recognised(secret: bytes, purpose: str, text: str) -> None:
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    assert is_signed(secret, purpose, text, signature(secret, purpose, text))


@pytest.mark.parametrize(
    "secret, purpose, text, signed",
    [
        (b"another", "pickle", "text", signature(SECRET, "pickle", "text")),
        (SECRET, "another", "text", signature(SECRET, "pickle", "text")),
        (SECRET, "pickle", "another", signature(SECRET, "pickle", "text")),
        (SECRET, "pickl", "etext", signature(SECRET, "pickle", "text")),
        (SECRET, "pickle", "text", signature(SECRET, "pickle", "text").upper()),
        (SECRET, "pickle", "text", ""),
        (SECRET, "pickle", "text", "\ud800ü"),
        (SECRET, "pickle", "text", None),
    ],
)
def test_anything_else_is_not(secret: bytes, purpose: str, text: str, signed: str | None) -> None:
    assert not is_signed(secret, purpose, text, signed)


def test_a_signature_stays_what_it_is() -> None:
    # Stored signatures must hold in later versions.
    assert signature(SECRET, "pickle", "text") == digest(SECRET, "pickle", b"text").hex()
    assert len(digest(SECRET, "pickle", b"text")) == 32
