"""A class changes with the source of its modules, a folder with that of all that is loaded from it."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.runners.sources import folder_hash, source_hash

BASE = "class Base:\n    pass\n"
DERIVED = "from {base} import Base\n\n\nclass Derived(Base):\n    pass\n"


def loaded(name: str, file: Path) -> type:
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    found: type = next(reversed([kind for kind in vars(module).values() if isinstance(kind, type)]))
    return found


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    yield "source_base", "source_derived"
    for name in ("source_base", "source_derived"):
        sys.modules.pop(name, None)


def test_the_source_of_every_module_that_a_class_is_made_of_counts(names: tuple[str, str], tmp_path: Path) -> None:
    base, derived = tmp_path / "base.py", tmp_path / "derived.py"
    base.write_text(BASE)
    derived.write_text(DERIVED.format(base=names[0]))
    loaded(names[0], base)
    kind = loaded(names[1], derived)
    first = source_hash(kind)
    assert source_hash(loaded(names[1], derived)) == first
    base.write_text(BASE + "# changed\n")
    second = source_hash(kind)
    derived.write_text(DERIVED.format(base=names[0]) + "# changed\n")
    assert len({first, second, source_hash(kind)}) == 3


def test_what_has_no_source_is_never_the_same_twice() -> None:
    kind = type("Kind", (), {"__module__": "nowhere"})
    assert source_hash(kind) != source_hash(kind)


def test_a_folder_is_another_with_every_change_of_what_is_loaded_from_it(
    names: tuple[str, str], tmp_path: Path
) -> None:
    base, derived, installed = tmp_path / "base.py", tmp_path / "parts" / "derived.py", tmp_path / ".venv" / "other.py"
    for file in (derived, installed):
        file.parent.mkdir()
    base.write_text(BASE)
    loaded(names[0], base)
    before = folder_hash(tmp_path)
    assert folder_hash(tmp_path) == before
    installed.write_text(BASE)
    loaded(names[1], installed)
    assert folder_hash(tmp_path) == before
    # Nobody has loaded it yet.
    derived.write_text(DERIVED.format(base=names[0]))
    assert folder_hash(tmp_path) == before
    loaded(names[1], derived)
    both = folder_hash(tmp_path)
    derived.write_text(DERIVED.format(base=names[0]) + "\n")
    assert len({before, both, folder_hash(tmp_path)}) == 3
