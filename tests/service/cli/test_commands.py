"""The commands that examine a service, and how all of them fail."""

import os
import platform
import re
import socket
import stat
from pathlib import Path

import msgspec
import pytest

import service.cli.output
from domain.errors import Conflict, Misconfigured, Unavailable
from service.cli.main import main
from service.cli.output import Failed, exit_code_of
from tests.processes import free_port
from tests.service.cli.conftest import Command
from tests.service.cli.modules import bare, shop


def test_version_names_what_the_service_stands_on(run: Command) -> None:
    said = run("version").out
    assert f"python {platform.python_version()}\n" in said
    assert [line.split()[0] for line in said.splitlines()] == ["millrace", "python", "litestar", "piccolo", "msgspec"]
    assert run("--version").out == said


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["routes"], ["doctor"], ["version"], ["migrate"], ["migrate", "down"], ["migrations", "new"]],
)
def test_every_command_explains_itself(run: Command, command: list[str]) -> None:
    assert "Usage: millrace" in run(*command, "--help").out


@pytest.mark.parametrize("arguments", [["serve", "--port", "99999"], ["fly"], ["routes", "a", "b"], ["migrate", "--x"]])
def test_wrong_usage_has_exit_code_2(run: Command, arguments: list[str]) -> None:
    assert "Usage: millrace" in run(*arguments, exit_code=2).err


@pytest.mark.parametrize("command", [["serve"], ["routes"], ["migrate"], ["migrate", "status"], ["migrations", "new"]])
def test_a_missing_module_is_one_line_and_exit_code_2(run: Command, tmp_path: Path, command: list[str]) -> None:
    said = run(*command, exit_code=2)
    assert said.out == ""
    assert said.err.startswith(f"millrace: there is no main.py in {tmp_path}: ")
    assert said.err.count("\n") == 1


def test_errors_have_the_exit_codes_that_the_help_names() -> None:
    assert [exit_code_of(error) for error in (Failed("x"), Failed("x", 7), Misconfigured("x"))] == [1, 7, 2]
    assert [exit_code_of(error) for error in (Unavailable("x"), Conflict("x"))] == [3, 1]


def test_debug_shows_where_an_error_comes_from(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    said = run("routes", exit_code=2).err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("millrace: there is no main.py")


def test_a_wrong_variable_is_named_with_what_is_allowed(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path)
    monkeypatch.setenv("PORT", "abc")
    assert run("serve", exit_code=2).err == "millrace: PORT='abc': use a whole number from 0 to 65535\n"


def test_ctrl_c_before_anything_happened_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.cli.version.say", lambda *_: interrupted())
    assert main(["version"]) == 130


def test_routes_are_whole_lines_in_a_pipe(run: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    lines = [line.split(maxsplit=2) for line in run("routes").out.splitlines()]
    assert ["POST", "/api/v1/items", "Create one"] in lines
    assert run("routes", str(tmp_path / "main.py")).out.splitlines() == run("routes", "main").out.splitlines()


def test_routes_are_json_for_machines(run: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    routes = msgspec.json.decode(run("routes", "--json").out)
    assert {"method": "GET", "path": "/api/v1/items", "summary": "List items"} in routes


def test_routes_are_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    service.cli.output.tabulate(("method", "path"), [("GET", "/[x]")])
    assert capsys.readouterr().out.split() == ["method", "path", "GET", "/[x]"]


def states(said: str) -> dict[str, str]:
    """Each finding of the doctor with its state."""
    return {text: state for state, text in (line.split(maxsplit=1) for line in said.splitlines())}


def test_a_healthy_service_has_nothing_to_hide(command: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    command("migrate")
    command("migrations", "new")
    command("migrate")
    found = states(command("doctor").out)
    assert set(found.values()) == {"ok"}
    assert "tables are as declared" in found
    assert "module: Shop 2.1.0 can be built" in found


def test_the_doctor_writes_nothing(run: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    said = run("doctor").out
    assert "(made at the first start)" in said
    assert re.search(r"warn \d+ migrations have not run: the next start brings it in step", said)
    assert not (tmp_path / "var").exists()


def test_the_doctor_sees_tables_that_are_not_as_declared(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path)
    command("migrate")
    shop(
        tmp_path,
        ("Integer(default=0)", "Integer(default=0)\n    stock = Integer(default=0)"),
        ("    price: int = 0", "    price: int = 0\n    stock: int = 0"),
    )
    assert states(command("doctor").out)["column items.stock is missing: the next start brings it in step"] == "warn"
    monkeypatch.setenv("MILLRACE_MIGRATE", "false")
    assert "warn column items.stock is missing: run `millrace migrate`" in command("doctor").out


def test_the_doctor_asks_for_a_migration_where_there_are_some(command: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    command("migrations", "new")
    command("migrate")
    shop(
        tmp_path,
        ("Integer(default=0)", "Integer(default=0)\n    stock = Integer(default=0)"),
        ("    price: int = 0", "    price: int = 0\n    stock: int = 0"),
    )
    assert "fail column items.stock is missing: write a migration" in command("doctor", exit_code=1).out


def test_the_doctor_names_what_is_wrong_and_what_to_do(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path)
    (tmp_path / "taken").touch()
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/shop")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        said = run("doctor", "--home", str(tmp_path / "taken"), exit_code=1).out
    assert f"fail home {tmp_path}/taken: {tmp_path}/taken is a file; name a folder" in said
    assert f"fail port {port} on 127.0.0.1 is in use: stop what listens there" in said
    assert "fail database: Cannot reach the database postgresql://me@127.0.0.1" in said
    assert "secret" not in said


def test_the_doctor_stops_where_nothing_more_can_be_said(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fail module: there is no main.py" in run("doctor", exit_code=1).out
    monkeypatch.setenv("WORKERS", "many")
    assert run("doctor", exit_code=1).out.splitlines()[-1].startswith("fail settings: WORKERS='many'")


def test_the_doctor_needs_no_database(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare(tmp_path)
    monkeypatch.setenv("PORT", "0")
    found = states(run("doctor").out)
    assert found["database: none is needed"] == "ok"
    assert found["port 0 on 127.0.0.1 is free (any free one)"] == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_doctor_notices_a_home_without_rights(run: Command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert f"fail home {home} cannot be written to" in run("doctor", "--home", str(home), exit_code=1).out


def test_an_old_python_is_refused(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli.doctor.OLDEST_PYTHON", (9, 0))
    assert "is too old: install 9.0" in run("doctor", exit_code=1).out
