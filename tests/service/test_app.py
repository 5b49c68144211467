"""Which app a target names, and what is said when it names none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import Misconfigured
from service.app import Route, endpoints, load_app, located, parse_target, routes_of
from tests.service.cli.modules import bare, shop

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


async def test_without_a_target_it_is_main_py_in_the_current_folder(tmp_path: Path) -> None:
    shop(tmp_path)
    assert load_app().info.id == "shop"


@pytest.mark.parametrize(
    "target",
    ["wares/main.py", "wares/main.py:app", "wares", "wares/", "wares.main", "wares.main:app", "./wares/main.py"],
)
async def test_a_target_is_a_file_a_folder_or_a_module(tmp_path: Path, target: str) -> None:
    (tmp_path / "wares").mkdir()
    shop(tmp_path / "wares")
    assert load_app(target).info.id == "shop"


async def test_a_file_finds_its_siblings_wherever_it_is_loaded_from(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "words.py").write_text('NAME = "Bare"\n')
    bare(folder, before="from words import NAME", name="shop_floor.py")
    assert load_app(str(folder / "shop_floor.py")).info.display_name == "Bare"


async def test_a_sibling_that_imports_the_file_gets_the_same_module(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("def app():\n    import main\n    return main.app\n")
    bare(tmp_path, before="import late")
    app = load_app("main.py")
    assert sys.modules["late"].app() is app
    assert load_app("main.py") is app


async def test_a_file_never_takes_the_place_of_another_module(tmp_path: Path) -> None:
    import service

    bare(tmp_path, name="service.py")
    bare(tmp_path, name="queue.py")
    assert load_app("service.py").info.id == "bare"
    assert load_app("queue.py").info.id == "bare"
    assert sys.modules["service"] is service
    assert str(tmp_path) not in str(getattr(sys.modules.get("queue"), "__file__", ""))


async def test_migrations_are_looked_for_beside_the_module(tmp_path: Path) -> None:
    (tmp_path / "wares").mkdir()
    assert load_app(str(shop(tmp_path / "wares"))).design.migrations_home == tmp_path / "wares" / "migrations"


@pytest.mark.parametrize(
    "target, message",
    [
        (None, "there is no main.py in {folder}: name your module, a file such as main.py"),
        ("no.py", "there is no file {folder}/no.py"),
        ("no/such.py:app", "there is no file {folder}/no/such.py"),
        ("no", "there is no module 'no' in {folder} or among the installed packages"),
        ("no.such:app", "there is no module 'no' in {folder}"),
        ("tests.service.no", "there is no module 'tests.service.no'"),
        ("main.py:not-a-name", "'main.py:not-a-name' names no app"),
        ("-", "'-' names no module"),
    ],
)
async def test_what_is_not_there_is_named_with_the_place_that_was_looked_at(
    tmp_path: Path, target: str | None, message: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        load_app(target)
    assert str(caught.value).startswith(message.format(folder=tmp_path))


@pytest.mark.parametrize(
    "text, message",
    [
        ("def y(:\n", "main.py, line 1: invalid syntax"),
        (
            "import datetime\n\ndef f():\n    return 1 / 0\n\nf()\n",
            "main.py, line 4: ZeroDivisionError: division by zero",
        ),
        ("import no_such_module\n", "main.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ValueError\n", "main.py, line 1: ValueError"),
        ("import json\n\njson.loads('{')\n", "main.py, line 3: JSONDecodeError: Expecting property name"),
        ("", "main has no 'app': write app = ServiceBuilder(…)….build() there"),
        ("app = 3\n", "main:app is no app but of type int"),
    ],
)
@pytest.mark.parametrize("target", ["main.py", "main"])
async def test_what_is_wrong_with_the_module_is_shown_with_file_and_line(
    tmp_path: Path, target: str, text: str, message: str
) -> None:
    (tmp_path / "main.py").write_text(text)
    with pytest.raises(Misconfigured) as caught:
        load_app(target)
    assert str(caught.value).replace(f"{tmp_path}/main.py", "main").startswith(message)


async def test_an_app_of_another_name_is_proposed(tmp_path: Path) -> None:
    path = bare(tmp_path)
    path.write_text(path.read_text().replace("app =", "builder = ServiceBuilder\nservice ="))
    with pytest.raises(Misconfigured, match=r"did you mean main:service\?"):
        load_app("main")


async def test_a_builder_that_was_not_built_is_recognized(tmp_path: Path) -> None:
    path = bare(tmp_path)
    path.write_text(path.read_text().replace(".build()", ""))
    with pytest.raises(Misconfigured, match=r"main:app is no app but of type ServiceBuilder; call \.build\(\) on it"):
        load_app("main")


async def test_a_mistake_in_the_service_keeps_its_own_message(tmp_path: Path) -> None:
    shop(tmp_path, (".with_database(connect_timeout_seconds=0.2)", ""))
    with pytest.raises(Misconfigured, match=r"^with_crud\(items\) needs a database"):
        load_app()


async def test_an_error_from_elsewhere_has_no_place(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_target("-")
    assert located(caught.value, tmp_path / "elsewhere").startswith("Misconfigured: '-' names no module")


async def test_every_route_is_listed_with_what_it_is_for(tmp_path: Path) -> None:
    app = load_app(str(shop(tmp_path)))
    routes = await routes_of(app)
    assert Route("GET", "/api/v1/items", "List items") in routes
    assert Route("PATCH", "/api/v1/items/{id}", "Change some fields (RFC 7396 merge patch)") in routes
    assert Route("GET", "/docs", "") in routes
    assert {(route.method, route.path) for route in routes} == endpoints(app)
    assert [route.path for route in routes] == sorted(route.path for route in routes)
