"""Three requests to try on a service, made from what its first resource, its first task or its model look like."""

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from domain.bodies import Bodies
from domain.errors import InvalidBody
from domain.examples import example_args, example_body
from domain.query import Field, Kind, Resource
from service.app import endpoints
from service.design import ResourceDesign
from service.http.application import Service

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_SHORT = (Kind.TEXT, Kind.ENUM, Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL, Kind.DATE)


def suggestions(app: Service, url: str) -> list[str]:
    """Three commands; each works on the running service as it stands."""
    offered = endpoints(app)
    found: list[str] = []
    if app.design.resources:
        found = _of_resource(app.design.resources[0], offered, url)
    if (run := _of_tasks(app, offered, url)) is not None:
        # What lists and what makes; a search is for those who know what there is.
        found = [*dict.fromkeys([*found[:1], *found[-1:]]), run]
    found += _of_model(offered, url)
    general = ["/health", "/api/v1/system", "/api/v1/info", "/openapi.json", "/docs"]
    found += [_curl(f"{url}{path}") for path in general if ("GET", path) in offered]
    return found[:3]


def _of_resource(item: ResourceDesign, offered: set[tuple[str, str]], url: str) -> list[str]:
    resource: Resource[Any] = item.resource
    can_read, can_create = ("GET", resource.path) in offered, ("POST", resource.path) in offered
    body = _body(resource, item.unique) if can_create else None
    found = []
    if can_read:
        found.append(_curl(f"{url}{resource.path}?{_list_query(resource)}"))
        word = _search_word(resource, body or {})
        found.append(_curl(f"{url}{resource.path}?search={word}" if word else f"{url}{resource.path}/$schema"))
    if body is not None:
        found.append(_post(f"{url}{resource.path}", body))
    elif can_read and word:
        found.append(_curl(f"{url}{resource.path}/$schema"))
    return found


def _of_tasks(app: Service, offered: set[tuple[str, str]], url: str) -> str | None:
    """Run the first task whose arguments can be guessed."""
    doors = sorted(path for method, path in offered if method == "POST" and path.endswith("/{name}/$execute"))
    if app.design.jobs is None or not doors:
        return None
    examples = ((task.kind, example_args(task)) for task in app.design.jobs.tasks.offered)
    kind, args = next(((kind, args) for kind, args in examples if args is not None), (None, {}))
    if kind is None:
        return None
    return _post(f"{url}{doors[0].replace('{name}', kind)}", {"args": args} if args else {})


def _of_model(offered: set[tuple[str, str]], url: str) -> list[str]:
    """What the model can be told, what it learns from, and what it has done."""
    paths = sorted(path for method, path in offered if method == "GET")
    samples = [path for path in paths if path.endswith("/$generate-sample-data")]
    if not samples:
        return []
    told = [path for path in paths if path.endswith("/configs/$schema")]
    done = [f"{path}?fields=kind,status" for path in paths if path.endswith("/jobs")]
    return [_curl(f"{url}{path}") for path in [*told, f"{samples[0]}?kind=train&num_periods=3", *done]]


def _list_query(resource: Resource[Any]) -> str:
    """A filter, an order, some fields and a page, as far as the resource has what they need."""
    fields = resource.fields
    parts = []
    filtered = [fields[name] for name in resource.filterable if fields[name].kind in {Kind.ENUM, Kind.BOOLEAN}]
    chosen = next(iter(sorted(filtered, key=lambda field: field.kind is Kind.BOOLEAN)), None)
    if chosen is not None:
        parts.append(f"{chosen.name}={_value(chosen)}")
    if resource.sortable:
        newest = "created_at" in resource.sortable
        parts.append(f"sort={'-created_at' if newest else resource.sortable[0]}")
    shown = [name for name in resource.readable if fields[name].kind in _SHORT][:3]
    parts.append(f"fields={','.join(['id', *shown] if 'id' in resource.readable else shown)}")
    return "&".join([*parts, "page=1", f"size={min(5, resource.limits.page_size)}"])


def _value(field: Field) -> str:
    return quote(str(field.choices[0])) if field.choices else "true"


def _search_word(resource: Resource[Any], body: Mapping[str, Any]) -> str | None:
    """A word that the body to try contains, so that it can be found."""
    texts = [body[name] for name in resource.searchable if isinstance(body.get(name), str)]
    words = [word for text in sorted(texts, key=lambda text: "@" not in text) for word in re.findall(r"\w{3,}", text)]
    return quote(words[0]) if words else None


def _body(resource: Resource[Any], unique: frozenset[str]) -> dict[str, Any] | None:
    """A body that a POST takes, different at every start where values must differ; None when none was found."""
    bodies: Bodies[Any] = Bodies(resource)
    whole = example_body(bodies)
    if whole is None:
        return None
    required = {member.name for member in msgspec.structs.fields(resource.entity) if member.required}
    body = {name: value for name, value in whole.items() if name in required} or whole
    number = int(time.time())
    mark = "".join(_DIGITS[number >> shift & 31] for shift in (15, 10, 5, 0))
    body = {name: _marked(value, mark) if name in unique else value for name, value in body.items()}
    try:
        bodies.decode_create(msgspec.json.encode(body))
    except InvalidBody:
        return None
    return body


def _marked(value: Any, mark: str) -> Any:
    """A text that nobody has used before."""
    if not isinstance(value, str):
        return value
    start, at, rest = value.partition("@")
    return f"{start}.{mark}@{rest}" if at else f"{start} {mark}"


def _post(url: str, body: Mapping[str, Any]) -> str:
    encoded = msgspec.json.encode(body).decode()
    return f"{_curl(url)} -H 'Content-Type: application/json' -d {_quoted(encoded)}"


def _curl(url: str) -> str:
    return f"curl {_quoted(url)}"


def _quoted(text: str) -> str:
    # Single quotes: between double ones a shell would take `$schema` for a variable.
    return "'" + text.replace("'", "'\\''") + "'"
