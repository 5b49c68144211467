"""What a transformation is, read from the class that its author wrote."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain.computations import Lifetime
from domain.errors import Misconfigured
from domain.frames import DataFrame
from domain.frames.structure import Frame
from domain.transformations.router import TransformationRouter

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
# A version stands in a header.
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,50}")


class Transformation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A transformation as the service runs it; made by `defined`.

    `lifetime` is for how long a result is kept, where there is a cache. `params` is None when it takes none.
    `code_version` changes with the code, `version` when its author says so.
    """

    name: str
    version: str
    code_version: str
    title: str
    description: str
    data: Any
    params: type[msgspec.Struct] | None
    output: Any
    is_async: bool
    transform: Callable[..., Any]
    lifetime: Lifetime
    examples: Mapping[str, Mapping[str, Any]] = {}

    @property
    def label(self) -> str:
        """Which one in which version, for people and headers."""
        return f"{self.name}@{self.version}"

    @property
    def takes_frames(self) -> bool:
        """Whether it works on a `DataFrame`, which may then be a stored one, or rows of a resource."""
        return bool(self.data is DataFrame)

    def called(self, data: Any, params: Any) -> Any:
        """Call it with what it takes; of an async one this is the coroutine."""
        return self.transform(data) if self.params is None else self.transform(data, params)


def defined(router: TransformationRouter | type[TransformationRouter], source_hash: str) -> Transformation:
    """The transformation that a class declares; `source_hash` is that of the code it is in. Raises `Misconfigured`."""
    kind = router if isinstance(router, type) else type(router)
    if not issubclass(kind, TransformationRouter):
        raise Misconfigured(f"with_transformations({router!r}): derive {kind.__name__} from TransformationRouter")
    where = f"transformation {kind.__name__}"
    name: Any = kind.name or _snake(kind.__name__)
    version: Any = kind.version
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Misconfigured(f"{where}: name {name!r}: use lower case letters, digits, '_' and '-'")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise Misconfigured(f'{where}: version {version!r}: use a text such as "1" or "2.0"')
    transform = getattr(_instance(router, where), "transform", None)
    if not callable(transform):
        raise Misconfigured(f"{where}: it needs a method transform(self, data, params)")
    data, params, output = _signature(transform, where)
    return Transformation(
        name=name,
        version=version,
        code_version=f"{version}+{source_hash}",
        title=kind.title or name.replace("_", " ").replace("-", " ").capitalize(),
        description=inspect.cleandoc(kind.__doc__ or ""),
        data=data,
        params=params,
        output=output,
        is_async=inspect.iscoroutinefunction(transform),
        transform=transform,
        lifetime=_lifetime(kind.cache_ttl, where),
        examples=kind.examples,
    )


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type, complete in itself."""
    (top,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    if set(top) == {"$ref"}:
        top = definitions.pop(str(top["$ref"]).rsplit("/", 1)[1]) if not _recurs(top, definitions) else top
    return {**top, **({"$defs": definitions} if definitions else {})}


def _recurs(top: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    return f'"{top["$ref"]}"' in msgspec.json.encode(definitions).decode()


def _instance(router: Any, where: str) -> TransformationRouter:
    if not isinstance(router, type):
        return typing.cast(TransformationRouter, router)
    try:
        return typing.cast(TransformationRouter, router())
    except TypeError as error:
        raise Misconfigured(f"{where}: {error}; give with_transformations() an instance of it") from error


def _signature(transform: Callable[..., Any], where: str) -> tuple[Any, type[msgspec.Struct] | None, Any]:
    if inspect.isgeneratorfunction(transform) or inspect.isasyncgenfunction(transform):
        raise Misconfigured(f"{where}: transform is a generator; return the result instead")
    try:
        hints = typing.get_type_hints(transform, include_extras=True)
    except (NameError, TypeError) as error:
        raise Misconfigured(f"{where}: an annotation of transform cannot be read ({error})") from error
    names = list(inspect.signature(transform).parameters)
    output = hints.pop("return", msgspec.UNSET)
    if len(names) not in {1, 2} or set(names) - set(hints) or output in (msgspec.UNSET, type(None)):
        raise Misconfigured(f"{where}: annotate it as transform(self, data: …, params: …) -> …, or without params")
    kinds = [DataFrame if hints[name] is Frame else hints[name] for name in names]
    params = kinds[1] if len(kinds) == 2 else None
    if params is not None:
        _check_params(params, where)
    for kind in (*kinds, output):
        _check_json(kind, where)
    return kinds[0], params, output


def _check_params(params: Any, where: str) -> None:
    if not (isinstance(params, type) and issubclass(params, msgspec.Struct)):
        raise Misconfigured(f"{where}: params is {params!r}; it must be a msgspec Struct")
    if params.__struct_config__.array_like or params.__struct_config__.tag is not None:
        raise Misconfigured(f"{where}: {params.__name__} is array_like or has a tag; params are a plain object")
    for member in msgspec.structs.fields(params):
        if member.required:
            raise Misconfigured(f"{where}: {params.__name__}.{member.name} needs a default value")


def _check_json(kind: Any, where: str) -> None:
    try:
        msgspec.json.schema_components([kind])
        msgspec.json.Decoder(kind)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Misconfigured(f"{where}: {kind!r} has no JSON: {error}") from error


def _lifetime(cache_ttl: Any, where: str) -> Lifetime:
    # The same input gives the same result, so there is nothing to be had by computing it again early.
    lifetime = Lifetime(ttl_seconds=cache_ttl, is_refreshed_early=False)
    try:
        lifetime.check()
    except Misconfigured:
        raise Misconfigured(f"{where}: cache_ttl {cache_ttl!r}: use a number of seconds, 0 for none") from None
    return lifetime


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
