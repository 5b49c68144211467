"""What `Cache-Status` (RFC 9211) says of an answer."""

from domain.computations import Outcome

STATUSES = {
    Outcome.HIT: b"millrace; hit",
    Outcome.STALE: b"millrace; hit; fwd=stale",
    Outcome.MISS: b"millrace; fwd=miss; stored",
    Outcome.COALESCED: b"millrace; fwd=miss; collapsed",
    Outcome.BYPASS: b"millrace; fwd=bypass",
}


def cache_status(outcome: Outcome, ttl_seconds: float) -> bytes:
    """The value of the header, with the seconds that the answer is good for."""
    return STATUSES[outcome] + (b"; ttl=%d" % ttl_seconds)
