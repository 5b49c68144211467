"""Which texts continue a trace."""

import pytest

from domain.tracing import checked_traceparent

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "text, expected",
    [
        (GOOD, GOOD),
        (GOOD[:-2] + "00", GOOD[:-2] + "00"),
        # A later version may have more.
        ("cc" + GOOD[2:], GOOD),
        ("cc" + GOOD[2:] + "-what-the-future-brings", GOOD),
        ("", None),
        ("ff" + GOOD[2:], None),
        (GOOD + "-more", None),
        ("cc" + GOOD[2:] + ".more", None),
        (GOOD.upper(), None),
        (GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), None),
        (GOOD.replace("b7ad6b7169203331", "0" * 16), None),
        (GOOD[:-1], None),
        (GOOD[:-1] + "\n", None),
        ("nonsense", None),
    ],
)
def test_a_traceparent_is_taken_if_it_is_one(text: str, expected: str | None) -> None:
    assert checked_traceparent(text) == expected
