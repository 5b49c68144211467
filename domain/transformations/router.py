"""What the author of a transformation writes."""

from collections.abc import Mapping
from typing import Any, ClassVar


class TransformationRouter:
    """Base of transformations: a class with a method `transform(self, data, params)`, or without `params`.

    Its annotations say what comes in and goes out. `data` is a `DataFrame` or any type msgspec can decode; `params` a
    Struct whose fields all have defaults; what is returned a `DataFrame`, or anything msgspec can encode.
    A plain `def` runs in a thread, an `async def` in the event loop, where it must not block. What it raises as
    `ValueError` or as one of `domain.errors` is told to the client, anything else is a bug. The same input must always
    give the same output: a client that has it is told that nothing has changed.

    `name` is the name of the class in snake_case unless given, `title` the same in words, the description its
    docstring. `version` is to be changed with what the output depends on outside of the module. `examples` are bodies
    of requests by name. In a service with a cache, results are kept for `cache_ttl` seconds; 0 keeps none.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    cache_ttl: ClassVar[float] = 3600.0
    examples: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
