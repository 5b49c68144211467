"""`millrace jobs`: what it prints, what it changes, and the one line when it cannot."""

from pathlib import Path

import msgspec
import pytest

from tests.processes import free_port
from tests.service.cli.conftest import Command
from tests.service.cli.jobs_module import module, run_all, submit
from tests.service.cli.modules import bare

UNKNOWN = "01K00000000000000000000ZZZ"


@pytest.fixture
def service(command: Command, tmp_path: Path) -> Command:
    """Commands where the module with tasks is, on a database of either kind."""
    module(tmp_path)
    return command


def test_jobs_are_listed_with_the_newest_first(service: Command) -> None:
    assert service("jobs", "ls").out == ""
    assert service("jobs", "ls", "--json").out == "[]\n"
    first, second = submit("add", value=1), submit("fail")
    run_all()
    third = submit("add", options={"delay_seconds": 600, "queue": "elsewhere"})
    lines = [line.split() for line in service("jobs", "ls").out.splitlines()]
    assert [(line[0], *line[1:5]) for line in lines] == [
        (third, "scheduled", "add", "elsewhere", "0"),
        (second, "failed", "fail", "default", "1"),
        (first, "completed", "add", "default", "1"),
    ]
    # An error is one line, whatever is in it.
    assert " ".join(lines[1][6:]) == "ValueError: no luck, none at all"
    listed = msgspec.json.decode(service("jobs", "ls", "--json").out)
    assert [(job["id"], job["status"]) for job in listed] == [
        (third, "pending"),
        (second, "failed"),
        (first, "completed"),
    ]


NARROWED: list[tuple[list[str], list[str]]] = [
    (["--status", "pending"], ["talk"]),
    (["--status", "failed"], ["fail"]),
    (["--state", "completed"], ["add", "add"]),
    (["--queue", "elsewhere"], ["talk"]),
    (["--kind", "add"], ["add", "add"]),
    (["--kind", "add", "--limit", "1"], ["add"]),
    (["--kind", "add", "--status", "failed"], []),
    (["--queue", "no such"], []),
]


def test_a_list_can_be_narrowed(run: Command, tmp_path: Path) -> None:
    module(tmp_path)
    for kind in ("add", "add", "fail"):
        submit(kind)
    run_all()
    submit("talk", options={"delay_seconds": 600, "queue": "elsewhere"})
    for arguments, kinds in NARROWED:
        assert [line.split()[2] for line in run("jobs", "ls", *arguments).out.splitlines()] == kinds, arguments


def test_a_job_is_shown_with_why_and_its_history(run: Command, tmp_path: Path) -> None:
    module(tmp_path)
    id = submit("fail")
    run_all()
    lines = run("jobs", "show", id.lower()).out.splitlines()
    fields = dict(line.split(maxsplit=1) for line in lines if line[0].isalpha())
    assert (fields["id"], fields["state"], fields["kind"], fields["attempt"]) == (id, "failed", "fail", "1")
    assert fields["why"] == "failed: ValueError: no luck,"
    # What has several lines stands under itself.
    assert "                  none at all" in lines
    assert "tags" not in fields
    assert "lease_token" not in fields
    history = [line.split(maxsplit=2)[1] for line in lines if line.startswith("2")]
    assert history == ["submitted", "running", "failed"]
    shown = msgspec.json.decode(run("jobs", "show", id, "--json").out)
    assert (shown["id"], shown["error"]) == (id, "ValueError: no luck,\nnone at all")
    assert [event["type"] for event in shown["events"]] == ["submitted", "running", "failed"]


def test_jobs_are_canceled_and_retried(service: Command) -> None:
    first, second = (submit("add", value=value) for value in (1, 2))
    assert service("jobs", "cancel", first, second).out == f"{first}  canceled\n{second}  canceled\n"
    assert service("jobs", "retry", first).out == f"{first}  queued\n"
    run_all()
    said = service("jobs", "cancel", first, exit_code=1)
    assert (said.out, said.err) == (
        "",
        f"millrace: Job {first} is completed and cannot be canceled any more\n",
    )
    # What has been done is said.
    said = service("jobs", "retry", second, UNKNOWN, exit_code=1)
    assert (said.out, said.err) == (f"{second}  queued\n", f"millrace: Job with id {UNKNOWN} not found\n")
    said = service("jobs", "retry", second, exit_code=1)
    assert said.err == f"millrace: Job {second} is queued; only one that has ended can be run again\n"


def test_all_that_a_job_wrote_is_printed(run: Command, tmp_path: Path) -> None:
    module(tmp_path)
    id = submit("talk", value=1_500)
    run_all()
    lines = run("jobs", "logs", id).out.splitlines()
    assert [line.split(maxsplit=2)[1:] for line in lines] == [["log", f"line {number}"] for number in range(1_500)]
    encoded = run("jobs", "logs", id, "--json").out.splitlines()
    assert [msgspec.json.decode(line)["text"] for line in encoded[:2]] == ["line 0", "line 1"]
    assert run("jobs", "logs", submit("add")).out == ""


@pytest.mark.parametrize("verb", ["show", "cancel", "retry", "logs"])
def test_a_job_that_cannot_be_found_is_one_line(run: Command, tmp_path: Path, verb: str) -> None:
    module(tmp_path)
    for id, words in ((UNKNOWN, f"Job with id {UNKNOWN} not found"), ("zzz", "Invalid job ID format: zzz")):
        said = run("jobs", verb, id, exit_code=1)
        assert (said.out, said.err) == ("", f"millrace: {words}\n")


@pytest.mark.parametrize(
    "arguments",
    [["ls", "--status", "nope"], ["ls", "--state", "pending"], ["ls", "--limit", "0"], ["show"], ["cancel"], ["fly"]],
)
def test_wrong_usage_has_exit_code_2(run: Command, tmp_path: Path, arguments: list[str]) -> None:
    module(tmp_path)
    assert "Usage: millrace jobs" in run("jobs", *arguments, exit_code=2).err


@pytest.mark.parametrize("arguments", [["ls"], ["show", UNKNOWN], ["cancel", UNKNOWN], ["retry", UNKNOWN]])
def test_a_service_without_jobs_is_one_line(run: Command, tmp_path: Path, arguments: list[str]) -> None:
    for calls in ("", ".with_database()"):
        bare(tmp_path, calls)
        said = run("jobs", *arguments, exit_code=2)
        assert said.err == "millrace: the service has no jobs: call with_tasks(…) on its builder\n"


def test_a_missing_module_and_a_missing_database_are_one_line(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("jobs", "ls", exit_code=2).err.startswith("millrace: there is no main.py")
    bare(
        tmp_path,
        ".with_database(connect_timeout_seconds=0).with_tasks(nothing)",
        before="from domain.tasks import task\n\n\n@task()\nasync def nothing() -> None: ...\n",
    )
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/x")
    said = run("jobs", "ls", exit_code=3).err
    assert said.startswith("millrace: Cannot reach the database postgresql://me@127.0.0.1:")
    assert said.count("\n") == 1


def test_a_redis_that_is_away_keeps_nobody_from_looking(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path)
    id = submit("add", options={"delay_seconds": 600})
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    assert run("jobs", "ls").out.split()[0] == id
    assert run("jobs", "cancel", id).out == f"{id}  canceled\n"
    monkeypatch.setenv("REDIS_URL", "http://127.0.0.1")
    assert "REDIS_URL" in run("jobs", "ls", exit_code=2).err


@pytest.mark.parametrize("arguments", [["jobs"], ["jobs", "ls"], ["jobs", "show"], ["jobs", "logs"], ["worker"]])
def test_the_commands_explain_themselves(run: Command, arguments: list[str]) -> None:
    assert "Usage: millrace" in run(*arguments, "--help").out
