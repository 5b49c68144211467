"""What models are kept as: JSON only if it comes back as exactly what it was."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import DataFrame
from domain.model_runs import ContentKind
from infra.runners.models.contents import is_json, read_content, write_content
from infra.runners.models.functions import frame_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_what_is_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("content")
    file = write_content(folder, "model", value)
    assert (file.kind, file.is_signed) == (ContentKind.JSON, False)
    assert read_content(folder / "model", file.kind) == value


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, {"a": {3}}, math.nan, [math.inf], 2**64, {"a": object}, range(3)])
def test_what_would_come_back_as_something_else_is_pickled(tmp_path: Path, value: Any) -> None:
    assert not is_json(value)
    file = write_content(tmp_path, "model", value)
    assert (file.kind, file.media_type, file.is_signed) == (ContentKind.PICKLE, "application/x-pickle", True)
    assert repr(read_content(tmp_path / "model", file.kind)) == repr(value)


def test_frames_and_bytes_are_kept_as_such(tmp_path: Path) -> None:
    frame = DataFrame(["a"], [[1]])
    file = write_content(tmp_path, "model", frame)
    assert (file.kind, file.size, read_content(tmp_path / "model", file.kind)) == (ContentKind.FRAME, None, frame)
    file = write_content(tmp_path, "model", b"\x00")
    assert (file.kind, file.size, read_content(tmp_path / "model", file.kind)) == (ContentKind.BYTES, 1, b"\x00")


def test_a_prediction_may_be_given_in_several_ways() -> None:
    import pandas

    frame = DataFrame(["a"], [[1]])
    for given_as in (frame, {"content": frame}, {"columns": ["a"], "data": [[1]]}, pandas.DataFrame({"a": [1]})):
        found = frame_of(given_as)
        assert (found.columns, found.data) == (["a"], [[1]])
        assert found.schema is not None
    with pytest.raises(TypeError, match="on_predict returned a list: return a DataFrame"):
        frame_of([1])
    with pytest.raises(ValueError, match="row 0 has 2 cells instead of 1"):
        frame_of(DataFrame(["a"], [[1, 2]]))
