"""`$chart`: an artifact as a chart, and the chart as an artifact."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, Router, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_201_CREATED, HTTP_304_NOT_MODIFIED

from domain.charts import Format, checked_format
from domain.charts.asked import ChartParams
from domain.errors import FieldError, Invalid, InvalidQuery
from domain.query.parse import unknown_parameters
from domain.validation import invalid_fields
from service.http.conditional import header, is_unmodified
from service.http.crud import location
from service.http.documented import documents
from service.http.parameters import Json, header_parameter, query_parameter
from service.http.pictures import PICTURES, shown
from service.http.query import parameters
from service.http.running import Running
from service.managers.charts import encoded_spec, in_thread

AnyRequest = Request[Any, Any, Any]
_LISTS = ("location", "compare")
_NUMBERS = ("width", "height")
_SAYS = {
    "chart": "Which chart; the one that suits the artifact by default",
    "location": "Only this location; may stand several times",
    "compare": "The artifact of another forecast; may stand several times",
    "history": "The artifact of a frame with what is known of the target",
    "geo": "The artifact of a FeatureCollection with the places of a map",
}


def charts_router(prefix: str, running: Running, tags: list[str], *, is_keeping: bool) -> Router:
    """The charts of artifacts under `prefix`, which may be kept."""
    known = [_parameter(name) for name in ChartParams.__struct_fields__]
    given = [query_parameter("format", "json (the spec itself), svg, png or html", {"type": "string"})]
    seen = [header_parameter("If-None-Match", "The ETag of the chart that the client has")]
    errors = ["400", "404"]

    @get(
        "/{id:str}/$chart",
        summary="An artifact as a chart",
        operation_id="artifacts_chart",
        opt=documents(
            parameters=[*known, *given, *seen],
            errors=[*errors, "503"],
            headers={"ETag": "By what the chart is known"},
            others={"304": "The client has this chart"},
            reply=dict[str, Any],
            media_types=PICTURES,
        ),
    )
    async def chart(request: AnyRequest, id: FromPath[str]) -> Response[Any]:
        values = _values(request, ("format",))
        charts = running.modelling.charts
        with _said_in_query():
            format = checked_format(values.pop("format", Format.JSON))
            asked = await charts.asked(id, _params(values))
        headers = {"etag": f'"{asked.key}-{format}"'}
        seen = header(request.scope, b"if-none-match")
        # A star is no chart that the client could have.
        if seen is not None and seen.strip() != "*" and is_unmodified(seen, headers["etag"]):
            return Response(b"", status_code=HTTP_304_NOT_MODIFIED, headers=headers)
        with _said_in_query():
            made = await charts.drawn(asked)
        spec = await in_thread(lambda: encoded_spec(made))
        return shown(await running.charts.picture(spec, format), headers)

    @post(
        "/{id:str}/$chart",
        status_code=HTTP_201_CREATED,
        summary="Keep a chart of an artifact as an artifact below it",
        operation_id="artifacts_keep_chart",
        opt=documents(parameters=known, errors=errors, has_location=True),
    )
    async def keep(request: AnyRequest, id: FromPath[str]) -> Response[Any]:
        with _said_in_query():
            made = await running.modelling.charts.keep(id, _params(_values(request, ())))
        document = await running.modelling.artifacts.document(made.id)
        headers = {"location": location(request, f"{prefix}/{made.id}")}
        return Response(document.json, status_code=HTTP_201_CREATED, media_type=MediaType.JSON, headers=headers)

    return Router(path=prefix, route_handlers=[chart, *([keep] if is_keeping else [])], tags=tags)


@contextmanager
def _said_in_query() -> Iterator[None]:
    """What is wrong with a chart was said in the query here, and not in a body."""
    try:
        yield
    except Invalid as error:
        error.errors = tuple(msgspec.structs.replace(one, loc=("query", *one.loc[1:])) for one in error.errors)
        raise


def _parameter(name: str) -> Json:
    kind: Json = {"type": "integer"} if name in _NUMBERS else {"type": "string"}
    return query_parameter(name, _SAYS.get(name, f"The {name} of the chart"), kind)


def _values(request: AnyRequest, more: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a request by name, those that may stand several times as lists. Raises `InvalidQuery`."""
    allowed = (*ChartParams.__struct_fields__, *more)
    found: dict[str, Any] = {}
    pairs = parameters(request.scope)
    if unknown := [name for name, _ in pairs if name not in allowed]:
        raise unknown_parameters(unknown, allowed)
    for name, text in pairs:
        if name in _LISTS:
            found.setdefault(name, []).append(text)
        elif name in found:
            message = f'"{name}" stands twice'
            raise InvalidQuery(
                f"Invalid query: {message}", errors=[FieldError(type="duplicate", loc=("query", name), msg=message)]
            )
        else:
            found[name] = text
    return found


def _params(values: dict[str, Any]) -> ChartParams:
    try:
        return msgspec.convert(values, ChartParams, strict=False)
    except msgspec.ValidationError as error:
        numbers = {name: int(text) if text.isdigit() else text for name, text in values.items() if name in _NUMBERS}
        found = [
            msgspec.structs.replace(one, loc=("query", *one.loc[1:]), pointer=None)
            for one in invalid_fields({**values, **numbers}, ChartParams)
        ]
        raise InvalidQuery(f"Invalid query: {error}", errors=found) from None
