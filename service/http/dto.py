"""Litestar DTOs derived from a resource's entity: strict decoding of bodies, and the shape of single reads.

No `from __future__ import annotations` here or in any module with handlers: Litestar reads the real types.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from litestar import Response
from litestar.dto import MsgspecDTO
from litestar.openapi.spec import Reference, Schema
from litestar.status_codes import HTTP_200_OK
from litestar.typing import FieldDefinition

from domain.entity import Entity
from domain.errors import InvalidBody, UnsupportedMediaType
from domain.ports import Document
from domain.query import Resource
from domain.query.filters import BadJson, decode_json
from domain.validation import problem, rejected
from domain.wire import encode_struct
from service.http.reply import Reply

_JSON_TYPES = ("application/json", "application/merge-patch+json")


class BodyDTO(MsgspecDTO[Any]):
    """Decodes a body strictly with `read`, which knows the resource and reports every invalid field."""

    read: ClassVar[Callable[[bytes], Mapping[str, Any]]]

    def decode_bytes(self, value: bytes) -> Any:
        check_content_type(self.asgi_connection)
        return type(self).read(value)


def body_dto(model: type[msgspec.Struct], read: Callable[[bytes], Mapping[str, Any]]) -> type[BodyDTO]:
    """The DTO for bodies of `model`."""
    return type(f"{model.__name__}DTO", (BodyDTO[model],), {"read": staticmethod(read)})  # type: ignore[misc]


def required(data: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The decoded body; Litestar leaves it out when the request has none."""
    if data is None:
        raise rejected([problem("missing", "the body is empty; send a JSON object", (), None)])
    return data


class Shown(msgspec.Struct, frozen=True):
    """One entity on its way out, as the database wrote it or as a Struct, with the headers of its reply."""

    content: Document | Entity
    headers: Mapping[str, str]
    status: int = HTTP_200_OK


class EntityDTO(MsgspecDTO[Any]):
    """Shapes what the handlers of an app return: entities go out without hidden fields, timestamps in one width.

    It finds entities also inside of lists, objects, Structs and responses; the rest is left to Litestar.
    """

    hidden: ClassVar[Mapping[type[Entity], frozenset[str]]]
    models: ClassVar[Mapping[Any, type[msgspec.Struct]]]

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        return True

    @classmethod
    def create_for_field_definition(cls, *args: Any, **kwargs: Any) -> None:
        """No transfer model is needed: an entity is encoded as it is."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        if field_definition.is_subclass_of(Response):
            inner = field_definition.inner_types
            field_definition = inner[0] if inner else FieldDefinition.from_annotation(Any)
        shown = cls.models.get(field_definition.annotation) if not field_definition.args else None
        definition = field_definition if shown is None else FieldDefinition.from_annotation(shown)
        schema: Reference | Schema = schema_creator.for_field_definition(definition)
        return schema

    def data_to_encodable_type(self, data: Any) -> Any:
        if isinstance(data, Shown):
            content = data.content
            body = content.json if isinstance(content, Document) else self._encoded(content)
            return Reply(body, data.headers, status=data.status)
        if isinstance(data, Response):
            data.content = self._shaped(data.content)
            return data
        return self._shaped(data)

    def _shaped(self, value: Any) -> Any:
        if isinstance(value, Entity):
            return msgspec.Raw(self._encoded(value))
        if isinstance(value, Mapping):
            return {name: self._shaped(member) for name, member in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._shaped(member) for member in value]
        if isinstance(value, msgspec.Struct):
            given = {member.encode_name: getattr(value, member.name) for member in msgspec.structs.fields(value)}
            shaped = {name: self._shaped(member) for name, member in given.items()}
            # A Struct without an entity in it knows best how it is encoded.
            return value if all(_is_same(given[name], shaped[name]) for name in given) else shaped
        return value

    def _encoded(self, entity: Entity) -> bytes:
        hidden = next((self.hidden[kind] for kind in type(entity).__mro__ if kind in self.hidden), frozenset[str]())
        return encode_struct(entity, without=hidden)


def _is_same(given: Any, shaped: Any) -> bool:
    return given is shaped or (not isinstance(shaped, msgspec.Raw) and type(given) is type(shaped) and given == shaped)


def entity_dto(resources: Sequence[Resource[Any]]) -> type[EntityDTO]:
    """The DTO for what the handlers of an app with these resources return."""
    hidden = {resource.entity: resource.hidden for resource in resources}
    models = {resource.entity: read_model(resource) for resource in resources}
    return type("AppEntityDTO", (EntityDTO,), {"hidden": hidden, "models": models})


def read_model(resource: Resource[Any]) -> type[msgspec.Struct]:
    """The entity as clients see it."""
    if not resource.hidden:
        return resource.entity
    shown = [
        (member.name, member.type, member.default)
        if member.default is not msgspec.NODEFAULT
        else (member.name, member.type)
        for member in msgspec.structs.fields(resource.entity)
        if member.name in resource.readable
    ]
    return msgspec.defstruct(resource.entity.__name__, shown, kw_only=True, module=resource.entity.__module__)


def check_content_type(connection: Any) -> None:
    """Raise unless the request says that its body is JSON."""
    given = connection.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind in _JSON_TYPES or (kind.startswith("application/") and kind.endswith("+json")):
        return
    if not kind:
        # What existing clients expect of a body without a type.
        raise rejected([problem("media_type", 'send "Content-Type: application/json"', (), None)])
    raise UnsupportedMediaType(f'Cannot read "{kind[:100]}"; send JSON with "Content-Type: application/json"')


def decode_query_body(connection: Any, body: bytes, limit: int) -> Any:
    """The decoded body of `$query`. Raises `InvalidBody`."""
    check_content_type(connection)
    if len(body) > limit:
        raise _bad_body(f"is longer than {limit} bytes", None)
    try:
        return decode_json(body.decode())
    except UnicodeDecodeError as error:
        raise _bad_body(f"is not UTF-8 (byte {error.start})", None) from None
    except BadJson as error:
        where = "" if error.at is None else f" (character {error.at})"
        raise _bad_body(f"{error}{where}", error.at) from None


def _bad_body(message: str, at: int | None) -> InvalidBody:
    found = msgspec.structs.replace(problem("json_invalid", f"the body {message}", (), None), position=at)
    return rejected([found])
