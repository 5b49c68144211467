"""What a client sends: the data itself, or where it is to be had, and parameters."""

from collections.abc import Collection
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from domain.bodies import check_depth, decode_object
from domain.entity import Ulid
from domain.errors import MOST_ERRORS, InvalidBody, Misconfigured, cut
from domain.frames.structure import Frame, check_structure
from domain.transformations.definition import Transformation
from domain.validation import invalid_fields, problem, rejected

DATA, FRAME, RESOURCE = "data", "frame_id", "resource"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was read: exactly one of `data`, `frame_id` and `resource`, the latter with its `query`."""

    data: Any = UNSET
    frame_id: str | None = None
    resource: str | None = None
    query: dict[str, Any] = {}
    params: Any = None


class _Given(msgspec.Struct):
    data: Raw | UnsetType = UNSET
    frame_id: Raw | UnsetType = UNSET
    resource: Raw | UnsetType = UNSET


class Requests:
    """Reads the requests of a transformation, in a service that may have stored frames and `resources` to read from."""

    def __init__(
        self, transformation: Transformation, *, has_frames: bool = False, resources: Collection[str] = ()
    ) -> None:
        self.transformation = transformation
        self.params = None if transformation.params is None else _strict(transformation.params)
        self.forms: dict[str, type[msgspec.Struct]] = {DATA: self._form("Data", [("data", transformation.data)])}
        if transformation.takes_frames and has_frames:
            self.forms[FRAME] = self._form("Frame", [("frame_id", Ulid)])
        if transformation.takes_frames and resources:
            named: Any = Literal[tuple(resources)]
            query: Any = ("query", dict[str, Any], msgspec.field(default_factory=dict))
            self.forms[RESOURCE] = self._form("Query", [("resource", named), query])

    def _form(self, kind: str, members: list[Any]) -> type[msgspec.Struct]:
        if self.params is not None:
            members = [*members, ("params", self.params, msgspec.field(default_factory=self.params))]
        words = self.transformation.name.replace("-", "_").split("_")
        name = f"{''.join(word.capitalize() for word in words)}{kind}Request"
        return msgspec.defstruct(name, members, kw_only=True, forbid_unknown_fields=True, module=__name__)

    def read(self, body: bytes) -> Request:
        """The request in a body. Raises `InvalidBody` with every error and where it is."""
        # What is deeper than this could be decoded, but neither hashed nor given back.
        check_depth(body)
        form = self.forms[self._form_of(body)]
        try:
            found = msgspec.json.decode(body, type=form)
        except (msgspec.DecodeError, RecursionError, ValueError):
            raise _explained(body, form) from None
        members = msgspec.structs.asdict(found)
        if isinstance(data := members.get(DATA), Frame):
            check_structure(data, DATA)
        return Request(**members)

    def check_examples(self) -> None:
        """Raise `Misconfigured` for an example that is no request."""
        for name, example in self.transformation.examples.items():
            try:
                self.read(msgspec.json.encode(example))
            except (InvalidBody, TypeError) as error:
                said = error.detail if isinstance(error, InvalidBody) else error
                raise Misconfigured(f"transformation {self.transformation.name}: example {name!r}: {said}") from error

    def _form_of(self, body: bytes) -> str:
        try:
            sent = msgspec.json.decode(body, type=_Given)
        except (msgspec.DecodeError, RecursionError, ValueError):
            decode_object(body)
            raise
        given = [name for name in self.forms if getattr(sent, name) is not UNSET]
        if len(given) == 1:
            return given[0]
        names = _listed(self.forms)
        if given:
            message = f"give exactly one of {names}, not {_listed(given, 'and')}"
            raise rejected([problem("conflict", message, (given[1],), None, tuple(self.forms))])
        message = f"{names} is required" if len(self.forms) == 1 else f"give exactly one of {names}"
        raw = decode_object(body)
        unknown = [name for name in raw if name not in {*self.forms, "params", "query"}][:MOST_ERRORS]
        missing = problem("missing", message, (), None, tuple(self.forms))
        raise rejected(
            [
                missing,
                *(problem("unknown_field", f'unknown field "{cut(name)}"', (name,), raw[name]) for name in unknown),
            ]
        )


@cache
def _strict(params: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Parameters that refuse what they do not have."""
    if params.__struct_config__.forbid_unknown_fields:
        return params
    return msgspec.defstruct(
        params.__name__,
        [],
        bases=(params,),
        module=params.__module__,
        namespace={"__doc__": params.__doc__},
        forbid_unknown_fields=True,
    )


def _explained(body: bytes, form: type[msgspec.Struct]) -> InvalidBody:
    raw = decode_object(body)
    try:
        msgspec.convert(raw, form, str_keys=True)
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        found = invalid_fields(raw, form)
        return rejected(found) if found else InvalidBody(f"Request validation failed: {error}")
    return InvalidBody("Request validation failed: the body is not valid")


def _listed(names: Collection[str], last: str = "or") -> str:
    *others, end = [f'"{name}"' for name in names]
    return f"{', '.join(others)} {last} {end}" if others else end
