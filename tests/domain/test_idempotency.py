"""Keys of requests: which are valid, whose they are, what makes a request the same, and what is final."""

import hashlib

import pytest

from domain.context import Context
from domain.errors import Invalid
from domain.idempotency import (
    MOST_REPLY_BYTES,
    KeptReply,
    KeyReused,
    ReplyNotKept,
    fingerprint,
    is_final,
    read_key,
    scoped,
)

ALICE = Context(principal="alice")


@pytest.mark.parametrize("value", [b"k", b"!", b"~" * 255, b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', b"a,b"])
def test_a_key_is_visible_ascii(value: bytes) -> None:
    assert read_key([value]) == value.decode()


@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"x" * 256, b"\xc3\xa9", b"a\n", b"\x7f", b"\x00"])
def test_what_is_no_key_is_named_with_what_is_allowed(value: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        read_key([value])
    [error] = caught.value.errors
    assert (error.loc, error.allowed) == (("header", "Idempotency-Key"), ("1 to 255 visible ASCII characters",))
    assert "Idempotency-Key must be 1 to 255 visible ASCII characters" in caught.value.detail


def test_a_key_stands_once() -> None:
    with pytest.raises(Invalid, match="stands 3 times; send it once") as caught:
        read_key([b"a", b"a", b"b"])
    assert caught.value.errors[0].input == "a, a, b"


def test_a_key_is_its_callers_own() -> None:
    everybody = [
        scoped("k", ALICE, []),
        scoped("k", Context(principal="bob"), []),
        scoped("k", Context(principal="alice", tenant="other"), []),
        # What one says cannot be shifted into what another says.
        scoped("k", Context(principal="e", tenant="defaultalic"), []),
        scoped("kk", ALICE, []),
        scoped("k", ALICE, [b"k"]),
        scoped("k", ALICE, [b"a", b"b"]),
        scoped("k", ALICE, [b"b", b"a"]),
        scoped("k", ALICE, [b"ab"]),
    ]
    assert len(set(everybody)) == len(everybody)
    assert scoped("k", Context(principal="alice", request_id="r"), iter([b"a"])) == scoped("k", ALICE, [b"a"])
    assert all(len(bytes.fromhex(one)) == 32 for one in everybody)


def test_method_path_query_and_body_make_a_request_the_same() -> None:
    requests = [
        fingerprint("POST", b"/a", b"", [b"body"]),
        fingerprint("PUT", b"/a", b"", [b"body"]),
        fingerprint("POST", b"/ab", b"", [b"body"]),
        fingerprint("POST", b"/a", b"b", [b"body"]),
        fingerprint("POST", b"/a", b"", [b"bodY"]),
        fingerprint("POST", b"/a", b""),
    ]
    assert len({one.hexdigest() for one in requests}) == len(requests)
    in_pieces = fingerprint("POST", b"/a", b"", [b"bo", b"", b"dy"])
    assert in_pieces.hexdigest() == requests[0].hexdigest()
    assert in_pieces.name == hashlib.sha256().name


@pytest.mark.parametrize("status", [200, 201, 202, 204, 303, 400, 404, 405, 410, 412, 413, 415, 422])
def test_what_a_request_will_always_get_is_final(status: int) -> None:
    assert is_final(status)


@pytest.mark.parametrize("status", [0, 100, 401, 403, 408, 409, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_not_final(status: int) -> None:
    assert not is_final(status)


def test_a_reply_is_for_the_request_that_it_was_given_to() -> None:
    reply = KeptReply(fingerprint="f", status=201, headers=[], body=b"")
    reply.check_fits("f")
    with pytest.raises(KeyReused, match="use a new key for each request"):
        reply.check_fits("g")


def test_a_reply_that_was_not_kept_is_said_to_have_been_given() -> None:
    reply = KeptReply(fingerprint="f", status=201, headers=[], body=None)
    with pytest.raises(ReplyNotKept, match=f"answered with 201, .* not carried out again; .* {MOST_REPLY_BYTES} bytes"):
        reply.check_fits("f")
    with pytest.raises(KeyReused):
        reply.check_fits("g")
