"""Transformations."""

from collections.abc import Sequence
from typing import Self

from domain.errors import Misconfigured
from domain.transformations import TransformationRouter, defined
from infra.runners.sources import source_hash
from service.builder.core import Core, checked_prefix
from service.choices import TransformationsPlan


class TransformationsOffered(Core):
    """What makes a document of data at once."""

    def with_transformations(
        self,
        *transformations: TransformationRouter | type[TransformationRouter],
        prefix: str = "/api/v1/transformations",
        max_threads: int = 4,
        max_rows: int = 100_000,
        tags: Sequence[str] = ("transformations",),
    ) -> Self:
        """Offer transformations: classes derived from `TransformationRouter`, or instances of them.

        At most `max_threads` of them compute at a time, others wait. A query of a resource may have `max_rows` rows.
        """
        for name, number in (("max_threads", max_threads), ("max_rows", max_rows)):
            if number < 1:
                raise Misconfigured(f"with_transformations({name}={number}): at least 1 is needed")
        made = [defined(item, source_hash(item if isinstance(item, type) else type(item))) for item in transformations]
        before = self._choices.transformations.items if self._choices.transformations is not None else ()
        names = [item.name.replace("-", "_") for item in (*before, *made)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Misconfigured(f"two transformations have the name {twice!r}: give each its own")
        self._choices.transformations = TransformationsPlan(
            items=(*before, *made),
            path=checked_prefix("with_transformations", prefix),
            max_threads=max_threads,
            max_rows=max_rows,
            tags=tuple(tags),
        )
        return self
