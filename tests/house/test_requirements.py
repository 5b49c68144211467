"""The locks install the same files everywhere: every one has its hash, and nothing points to a machine."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "requirements"
LOCKS = ["runtime", "build", "dev", "load"]


def lock(name: str) -> str:
    return (FOLDER / f"{name}.lock").read_text()


def pinned(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==\S+)", lock(name), re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_a_pinned_package_or_its_hash(name: str) -> None:
    for line in lock(name).splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[^/\s]+( ; [^/:]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_what_runs_is_what_was_tested(name: str) -> None:
    assert pinned(name) <= pinned("dev")
