"""The guides leave nothing out: what the code offers is in them, and what they point to exists."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
import yaml

from domain.query import Operator, QueryLimits, Resource
from infra.database.engine import DatabaseOptions
from service.builder import ServiceBuilder
from service.cli.main import commands
from service.http.problems import _BY_STATUS, STATUSES
from service.managers.base import Manager
from service.managers.hooks import Hooks
from service.settings import from_env
from tests.house.pages import PAGES, ROOT
from tests.metrics import names_of_everything

ALL = "\n".join(page.read_text() for page in PAGES)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def row(text: str, first: str) -> str:
    """The row of a table that is about `first`: one that begins with it if there is one."""
    found = [line for line in text.splitlines() if line.startswith("|") and f"`{first}" in line]
    assert found, f"no table has a row for {first}"
    return next((line for line in found if line.startswith(f"| `{first}")), found[0])


def public(kind: type) -> list[str]:
    return [name for name, member in vars(kind).items() if not name.startswith("_") and callable(member)]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What the headings of a page can be linked to as."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name if path.parent != ROOT else f"/{path.name}")
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_start_page_links_every_page() -> None:
    for other in (ROOT / "docs").glob("*.md"):
        if other.name != "README.md":
            assert f"]({other.name})" in page("README"), other.name
            assert f"](docs/{other.name})" in (ROOT / "README.md").read_text(), other.name


@pytest.mark.parametrize("operator", list(Operator))
def test_every_operator_has_a_request_that_shows_it(operator: Operator) -> None:
    assert re.search(rf"^### {operator}\n.+?```bash\ncurl [^\n]*\[{operator}\]=", page("queries"), re.M | re.S)


@pytest.mark.parametrize("field", msgspec.structs.fields(QueryLimits), ids=lambda field: field.name)
def test_every_limit_of_a_query_is_listed_with_its_default(field: Any) -> None:
    cells = page("queries").split("## Limits")[1]
    assert f" {field.default:,} " in row(cells, field.name).replace("(", " ")


def problem_types() -> Iterator[tuple[int, str]]:
    yield from STATUSES.values()
    yield from _BY_STATUS.items()


@pytest.mark.parametrize("status, kind", sorted(set(problem_types())))
def test_every_type_of_problem_is_listed_with_its_status(status: int, kind: str) -> None:
    assert f"| `{kind}` | {status} |" in page("errors")


class Recording(dict[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return default


def test_every_variable_is_listed() -> None:
    environment = Recording()
    from_env(environment)
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", page("configuration"), re.MULTILINE))
    assert listed == environment.asked


@pytest.mark.parametrize("field", msgspec.structs.fields(DatabaseOptions), ids=lambda field: field.name)
def test_every_argument_of_the_database_is_listed_with_its_default(field: Any) -> None:
    if field.name != "url":
        assert f"| {field.default:g} |" in row(page("databases"), field.name)


@pytest.mark.parametrize("name", [name for name in inspect.signature(Resource).parameters if name != "entity"])
def test_every_argument_of_a_resource_is_listed(name: str) -> None:
    assert name == "name" or row(page("entities"), name)


@pytest.mark.parametrize("kind", [Manager, Hooks], ids=lambda kind: kind.__name__)
def test_every_method_is_listed(kind: type) -> None:
    for name in public(kind):
        assert f"`{name}(" in page("entities"), name


@pytest.mark.parametrize("name", public(ServiceBuilder))
def test_every_method_of_the_builder_is_used_or_explained(name: str) -> None:
    assert f"{name}(" in ALL or f"`{name}`" in ALL


def command_names(group: typer.Typer, above: str = "millrace") -> Iterator[str]:
    for command in group.registered_commands:
        callback: Callable[..., Any] | None = command.callback
        assert callback is not None
        yield f"{above} {command.name or callback.__name__}"
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        yield from command_names(sub.typer_instance, f"{above} {sub.name}")


@pytest.mark.parametrize("command", list(command_names(commands)))
def test_every_command_is_mentioned(command: str) -> None:
    assert command.removesuffix(" up") in ALL or f"`{command.rsplit(' ', 1)[1]}`" in ALL


def test_the_map_shows_what_there_is() -> None:
    shown = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0]
    paths: list[str] = []
    for line in shown.splitlines():
        name = line.split()[0]
        paths.append(f"{paths[-1].split('/')[0]}/{name}" if line.startswith(" ") else name)
    for path in paths:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    here = {entry.name for entry in ROOT.iterdir() if entry.is_dir() and (entry.name == ".ci" or entry.name[0] != ".")}
    assert here - {"build", "dist", "htmlcov", "var", "__pycache__"} <= {path.rstrip("/") for path in paths}
    for layer in ("domain", "infra", "service"):
        folders = {f"{layer}/{entry.name}/" for entry in (ROOT / layer).iterdir() if (entry / "__init__.py").is_file()}
        assert folders <= set(paths)


async def test_the_alerts_are_about_what_is_measured(tmp_path: Path) -> None:
    rules = yaml.safe_load((ROOT / "docs" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules] == re.findall(r"^\| `([A-Z]\w+)` \|", page("monitoring"), re.MULTILINE)
    found = await names_of_everything(f"sqlite:///{tmp_path / 'all.db'}")
    for rule in rules:
        names = set(re.findall(r"\b(?:http_server|millrace)_\w+", rule["expr"]))
        assert names
        assert names <= found, rule["alert"]


async def test_the_page_on_monitoring_names_everything_that_is_measured(tmp_path: Path) -> None:
    text = page("monitoring")
    for name in await names_of_everything(f"sqlite:///{tmp_path / 'all.db'}"):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        assert base in text or base.startswith("process_"), base
