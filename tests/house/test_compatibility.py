"""What the page on compatibility says is shown by a test is shown by one that exists."""

import re
from pathlib import Path

from tests.house.pages import ROOT


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "compatibility.md").read_text()))
    there = set()
    for file in Path(ROOT / "tests").rglob("test_*.py"):
        there.update(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
    assert len(named) > 30
    assert named - there == set()
