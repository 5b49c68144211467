"""`millrace migrate` and `millrace migrations`, as a user meets them while a service grows."""

import os
from pathlib import Path

import pytest

from tests.processes import free_port, millrace, serving
from tests.service.cli.conftest import Command
from tests.service.cli.modules import bare, shop

COLOR = (
    ("    price: int = 0\n", '    price: int = 0\n    color: str = "red"\n'),
    (
        "    price = Integer(default=0)\n",
        '    price = Integer(default=0)\n    color = Varchar(default="red", index=True)\n',
    ),
)
CENTS = (
    ("    price: int = 0\n", "    cents: int = 0\n"),
    ("    price = Integer(default=0)\n", "    cents = Integer(default=0)\n"),
)


def states(command: Command) -> list[tuple[str, str]]:
    """State and description of the shop's own migrations."""
    lines = [line.split() for line in command("migrate", "status").out.splitlines()]
    return [(words[0], " ".join(words[3:])) for words in lines if words[1] == "shop"]


def test_a_service_grows_by_migrations_and_can_go_back(tmp_path: Path, command: Command) -> None:
    shop(tmp_path)
    first = Path(command("migrations", "new", "-m", "the first").out.strip())
    assert first.parent == tmp_path / "migrations"
    assert states(command) == [("pending", "the first")]
    assert "the first" in command("migrate").out
    assert states(command) == [("applied", "the first")]
    assert command("migrate").out == "there is nothing to do\n"

    shop(tmp_path, *COLOR)
    command("migrations", "new", "-m", "it's a \\ color")
    assert states(command) == [("applied", "the first"), ("pending", "it's a \\ color")]
    assert "ADD COLUMN" in command("migrate", "--plan").out
    assert states(command)[-1] == ("pending", "it's a \\ color")
    command("migrate", "up", "main.py")
    assert command("migrations", "new", "-m", "again").out == "nothing has changed\n"

    assert "shop: undone" in command("migrate", "down").out
    assert states(command) == [("applied", "the first"), ("pending", "it's a \\ color")]
    command("migrate")
    assert len(command("migrate", "down", "--steps", "2").out.splitlines()) == 2
    assert {state for state, _ in states(command)} == {"pending"}
    nothing = command("migrate", "down", exit_code=1)
    assert nothing.err == "millrace: There is no migration to undo\n"
    command("migrate")
    assert {state for state, _ in states(command)} == {"applied"}


def test_a_service_that_ran_without_migrations_adopts_its_first_one(
    tmp_path: Path, command: Command, database_url: str
) -> None:
    shop(tmp_path)
    with serving(folder=tmp_path, variables={"DATABASE_URL": database_url}) as service, service.client() as client:
        assert client.post("/api/v1/items", json={"name": "cup"}).status_code == 201
    command("migrations", "new", "-m", "the first")
    assert "only recorded" in command("migrate", "--plan").out
    assert "only recorded" in command("migrate").out
    with serving(folder=tmp_path, variables={"DATABASE_URL": database_url}) as service, service.client() as client:
        assert [item["name"] for item in client.get("/api/v1/items").json()] == ["cup"]


def test_a_plan_changes_nothing(tmp_path: Path, command: Command, database_url: str) -> None:
    shop(tmp_path)
    for _ in range(2):
        said = command("migrate", "--plan").out
        assert 'CREATE TABLE "millrace_secrets"' in said
        assert 'CREATE TABLE "items"' in said
    if database_url.startswith("sqlite"):
        assert not (tmp_path / "database.sqlite3").exists()
    command("migrate")
    assert command("migrate", "--plan").out == "-- there is nothing to do\n"


def test_a_rename_is_never_guessed(tmp_path: Path, command: Command) -> None:
    shop(tmp_path)
    command("migrations", "new", "-m", "the first")
    command("migrate")
    shop(tmp_path, *CENTS)
    asked = command("migrations", "new", "-m", "cents", exit_code=2)
    assert asked.err.startswith("millrace: Did you rename the `price` column to `cents`")
    assert "--renamed or --not-renamed" in asked.err
    assert len(list((tmp_path / "migrations").glob("*.py"))) == 1
    command("migrations", "new", "-m", "cents", "--renamed")
    assert "RENAME COLUMN" in command("migrate", "--plan").out
    command("migrate")
    command("doctor")


def test_a_question_is_not_asked_in_a_pipe_that_stays_open(tmp_path: Path) -> None:
    shop(tmp_path)
    assert millrace("migrations", "new", folder=tmp_path).returncode == 0
    shop(tmp_path, *CENTS)
    reader, writer = os.pipe()
    try:
        done = millrace("migrations", "new", folder=tmp_path, stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 2


def test_an_empty_migration_is_written_by_hand(tmp_path: Path, command: Command) -> None:
    shop(tmp_path)
    command("migrations", "new", "-m", "the first")
    path = Path(command("migrations", "new", "--empty", "-m", "data").out.strip())
    text = path.read_text().replace('print(f"running {ID}")', "raise ValueError('not like that')")
    path.write_text(text)
    failed = command("migrate", exit_code=2)
    assert failed.err.count("\n") == 1
    assert "failed and was undone: not like that" in failed.err
    path.write_text(text.replace("raise ValueError('not like that')", "pass"))
    command("migrate")
    assert states(command) == [("applied", "the first"), ("applied", "data")]


def test_a_migration_without_a_change_leaves_no_folder_behind(tmp_path: Path, run: Command) -> None:
    bare(tmp_path, ".with_database()")
    assert run("migrations", "new").out == "nothing has changed\n"
    assert not (tmp_path / "migrations").exists()


def test_a_service_without_a_database_has_no_migrations(tmp_path: Path, run: Command) -> None:
    bare(tmp_path)
    for arguments in (["migrate"], ["migrate", "--plan"], ["migrate", "status"], ["migrate", "down"]):
        said = run(*arguments, exit_code=2)
        assert said.err == "millrace: bare has no database: call with_database() on its builder\n"
    assert run("migrations", "new", exit_code=2).err == said.err


def test_an_unreachable_database_is_said_in_one_line(
    tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/shop")
    for arguments in (["migrate"], ["migrate", "--plan"], ["migrate", "status"], ["migrate", "down"]):
        said = run(*arguments, exit_code=3)
        assert said.err.startswith("millrace: Cannot reach the database postgresql://me@127.0.0.1:")
        assert said.err.count("\n") == 1
        assert "secret" not in said.err
