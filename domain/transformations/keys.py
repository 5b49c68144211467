"""By what a result is known: everything that it depends on, in one hash."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode


def content_key(name: str, code_version: str, params: Any, data_hash: str | None) -> str | None:
    """The key of a result: the same for requests that mean the same, another one when anything differs.

    `params` is the decoded Struct, or None. Without a hash of the data there is no key.
    """
    if data_hash is None:
        return None
    return hashlib.sha256(_encode([name, code_version, canonical(params), data_hash])).hexdigest()


def query_key(name: str, code_version: str, params: Any, resource: str, query: Mapping[str, Any]) -> str:
    """The key of a result whose data is what a query finds, as long as that does not change."""
    return hashlib.sha256(_encode([name, code_version, canonical(params), resource, query, None])).hexdigest()


def data_hash(data: Any) -> str:
    """The hash of decoded data, however it was written down."""
    # Members that are left out because they have their default are so however the data was written.
    return hashlib.sha256(_encode(data)).hexdigest()


def canonical(value: Any) -> Any:
    """A value whose JSON holds every member, also those with their defaults, which `omit_defaults` would leave out."""
    if isinstance(value, msgspec.Struct):
        members = [(field.encode_name, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        config = value.__struct_config__
        tag = {} if config.tag is None else {config.tag_field: config.tag}
        return {**tag, **{name: canonical(member) for name, member in members if member is not msgspec.UNSET}}
    if isinstance(value, Mapping):
        return {name: canonical(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(member) for member in value]
    return value
