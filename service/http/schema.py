"""What `$schema` says: the entity's JSON Schema, and what a query may do with each field."""

from typing import Any

import msgspec

from domain.query import Resource

REF = "#/$defs/{name}"


def resource_schema(resource: Resource[Any], model: type[msgspec.Struct]) -> dict[str, Any]:
    """A JSON Schema (2020-12) of the entity as clients see it, with the query rules under `x-query`."""
    (top,), definitions = msgspec.json.schema_components([model], ref_template=REF)
    name = str(top["$ref"]).rsplit("/", 1)[1]
    schema = definitions.pop(name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        **({"$defs": definitions} if definitions else {}),
        "x-query": query_rules(resource),
    }


def query_rules(resource: Resource[Any]) -> dict[str, Any]:
    """Which fields may be filtered with which operators, sorted and searched, and the limits of a query."""
    limits = resource.limits
    return {
        "filterable": {name: [str(op) for op in resource.fields[name].operators] for name in resource.filterable},
        "sortable": list(resource.sortable),
        "searchable": list(resource.searchable),
        "selectable": list(resource.readable),
        "limits": msgspec.to_builtins(limits),
    }
