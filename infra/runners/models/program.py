"""The author's code on its way to the process that runs it: by reference, over a pipe that nobody else can write to."""

import pickle
from typing import Any

import msgspec

from domain.configs import ConfigSchema
from domain.errors import Misconfigured
from domain.models import EnsembleRunner, FunctionalModelRunner, ModelRunner, ShellModelRunner
from infra.runners.modules import Module, load, module_of


class Packed(msgspec.Struct, frozen=True):
    """A program: the modules that it needs, and a pickle of its runner and the type of its configurations."""

    modules: list[Module]
    pickle: bytes


class ModelProgram(msgspec.Struct, frozen=True):
    """The runner, and what its configurations are."""

    runner: ModelRunner
    configs: ConfigSchema


def modules_of_program(runner: ModelRunner, config_type: type) -> list[Module]:
    """The modules that the author's code is in, each once."""
    if isinstance(runner, EnsembleRunner):
        found = (modules_of_program(member, config_type) for member in runner.members.values())
        return list(dict.fromkeys(module for modules in found for module in modules))
    parts: list[Any] = [config_type]
    if isinstance(runner, FunctionalModelRunner):
        parts += [runner.on_train, runner.on_predict]
    if isinstance(runner, FunctionalModelRunner | ShellModelRunner):
        parts += [check for check in (runner.on_validate_train, runner.on_validate_predict) if check is not None]
    else:
        parts.append(type(runner))
    return list(dict.fromkeys(module_of(part.__module__) for part in parts))


def pack(runner: ModelRunner, config_type: type) -> bytes:
    """A program as bytes. Raises `Misconfigured` when another process could not find its parts."""
    try:
        pickled = pickle.dumps((runner, config_type))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Misconfigured(
            f"with_ml({type(runner).__name__}): a model runs in a process of its own, which must be able to find it: "
            f"define its functions and classes at the top of a module ({error})"
        ) from None
    return msgspec.json.encode(Packed(modules_of_program(runner, config_type), pickled))


def unpack(program: bytes) -> ModelProgram:
    """The program again, in the process that runs it. Raises `CannotImport`."""
    packed = msgspec.json.decode(program, type=Packed)
    for module in packed.modules:
        load(module)
    # It comes from the process that has started this one, and from nowhere else.
    runner, config_type = pickle.loads(packed.pickle)  # noqa: S301
    return ModelProgram(runner, ConfigSchema(config_type))
