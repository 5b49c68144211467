"""The grammar itself, as the one who made it publishes it: which specs are any."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import altair
import jsonschema_rs

_FILE = Path(altair.__file__).parent / "vegalite" / "v5" / "schema" / "vega-lite-schema.json"


def check(spec: Any) -> Any:
    """The spec as it is sent. Fails when it is none."""
    sent = json.loads(json.dumps(spec))
    error = next(_validator().iter_errors(sent), None)
    assert error is None, str(error)[:2_000]
    return sent


@cache
def _validator() -> Any:
    return jsonschema_rs.validator_for(_quoted(json.loads(_FILE.read_text())))


def _quoted(part: Any) -> Any:
    """The schema with references that are URIs, which the names of its types are not."""
    if isinstance(part, list):
        return [_quoted(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: "#" + quote(member[1:]) if name == "$ref" and isinstance(member, str) else _quoted(member)
        for name, member in part.items()
    }
