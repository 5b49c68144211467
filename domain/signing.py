"""Signatures of what leaves this service and comes back: HMAC-SHA256 with its secret, for one purpose each."""

import hmac


def digest(secret: bytes, purpose: str, content: bytes) -> bytes:
    """The 32 bytes that only who knows `secret` can make; those of one purpose are worth nothing for another."""
    # The zero byte keeps "ab" + "c" from being "a" + "bc".
    return hmac.digest(secret, b"millrace " + purpose.encode() + b"\0" + content, "sha256")


def signature(secret: bytes, purpose: str, text: str) -> str:
    """The signature of `text`, as 64 lower-case hexadecimal digits."""
    return digest(secret, purpose, text.encode()).hex()


def is_signed(secret: bytes, purpose: str, text: str, signed: str | None) -> bool:
    """Whether `signed` is the signature of `text`; takes the same time wherever they differ."""
    expected = signature(secret, purpose, text).encode()
    return signed is not None and hmac.compare_digest(expected, signed.encode(errors="replace"))
