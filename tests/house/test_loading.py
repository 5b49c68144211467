"""A service loads nothing that it does not use: whatever is imported is paid for in start-up time and memory."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNUSED = {"altair", "arq", "black", "httpx", "jinja2", "numpy", "pandas", "polars", "pyarrow", "redis", "vl_convert"}


def loaded_by(program: str) -> set[str]:
    """The packages that a new process has loaded at the end of a program."""
    command = [
        sys.executable,
        "-c",
        f"import sys\n{program}\nprint(*{{name.partition('.')[0] for name in sys.modules}})",
    ]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_a_service_that_registers_nowhere_and_has_no_redis_loads_neither_client() -> None:
    assert not loaded_by("import service.cli.main, service.cli.__main__, bench.jobs_service") & UNUSED


def test_what_writes_migrations_loads_its_formatter_when_it_formats() -> None:
    program = "import infra.database.piccolo_apps\nfrom piccolo.conf import apps\n{}"
    assert "black" not in loaded_by(program.format("assert 'black' not in sys.modules"))
    assert "black" in loaded_by(program.format("apps.black.FileMode(line_length=80)"))
    assert "black" in loaded_by(program.format("import piccolo.apps.migrations.commands.new"))
