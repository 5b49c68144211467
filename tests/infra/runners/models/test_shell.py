"""One command: what it says, how it ends, and that nothing of it is left. It is run as it is in real life, by a process
that leads a group of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, os, sys
from pathlib import Path
from infra.runners.models.shell import run_command
os.setpgid(0, 0)
said = []
end = run_command(sys.argv[1], Path("."), timeout_seconds=float(sys.argv[2]) or None,
                  on_stdout=lambda line: said.append(["out", line]), on_stderr=lambda line: said.append(["err", line]))
print(json.dumps({"code": end.exit_code, "stdout": end.stdout, "stderr": end.stderr, "said": said}))
"""


def run(folder: Path, command: str, timeout: float = 0.0) -> Any:
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT, command, str(timeout)],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[4]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(made.stdout)


def test_what_a_command_says_is_told_line_by_line_and_kept(tmp_path: Path) -> None:
    found = run(tmp_path, "echo one; echo two >&2; printf 'no end'; touch here; exit 3")
    assert (found["code"], found["stdout"], found["stderr"]) == (3, "one\nno end\n", "two\n")
    assert sorted(found["said"]) == [["err", "two"], ["out", "no end"], ["out", "one"]]
    assert (tmp_path / "here").exists()


def test_what_is_no_text_does_no_harm_and_too_much_is_cut_at_its_beginning(tmp_path: Path) -> None:
    found = run(tmp_path, "printf '\\377\\n'; yes abcdefghi | head -n 50000; echo last")
    assert found["said"][0] == ["out", "\ufffd"]
    assert len(found["said"]) == 50_002
    assert found["stdout"].startswith("… ")
    assert found["stdout"].endswith("\nlast\n")
    assert len(found["stdout"]) < 300_000


@pytest.mark.parametrize("command, timeout", [("sleep 600 & echo $!; sleep 600", 0.5), ("sleep 600 & echo $!", 0.0)])
def test_nothing_is_left_of_a_command_whether_it_ends_or_its_time_is_up(
    tmp_path: Path, command: str, timeout: float
) -> None:
    found = run(tmp_path, command, timeout)
    assert found["code"] == (-1 if timeout else 0)
    assert found["stderr"] == ("Command timed out after 0.5 seconds\n" if timeout else "")
    status = Path(f"/proc/{int(found['stdout'])}/stat")
    assert not status.exists() or " Z " in status.read_text()
