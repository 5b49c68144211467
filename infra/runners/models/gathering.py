"""The data of a pipeline, got by its author's function in the process that it has to itself."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import Misconfigured
from domain.pipelines import DATA_FILE, Gathering, Pipeline, PipelineData
from infra.runners.models.program import Packed
from infra.runners.modules import load, module_of


def pack_pipeline(pipeline: Pipeline) -> bytes:
    """The function of a pipeline as bytes. Raises `Misconfigured` when another process could not find it."""
    function: Callable[..., Any] = pipeline.load
    try:
        pickled = pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Misconfigured(
            f"Pipeline({pipeline.name!r}): its data is got in a process of its own, which must be able to find the "
            f"function: define it at the top of a module ({error})"
        ) from None
    return msgspec.json.encode(Packed([module_of(function.__module__)], pickled))


def gather(given: Gathering) -> None:
    """Call the function, and leave the data in the directory."""
    packed = msgspec.json.decode(given.program, type=Packed)
    for module in packed.modules:
        load(module)
    # It comes from the process that has started this one, and from nowhere else.
    found: Any = pickle.loads(packed.pickle)()  # noqa: S301
    if not isinstance(found, PipelineData):
        raise TypeError(f"the function returned a {type(found).__name__}: return PipelineData(data=…, future=…)")
    found.data.validate_structure()
    found.future.validate_structure()
    (Path(given.directory) / DATA_FILE).write_bytes(msgspec.json.encode(found))
