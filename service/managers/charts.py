"""What happens when a chart is asked for: its spec is made where it is in nobody's way, and drawn elsewhere."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from domain.artifacts import Artifact
from domain.charts import Chart, ChartRenderer, Format
from domain.charts.artifacts import Drawn, drawn
from domain.charts.asked import ChartParams, Source, source_of
from domain.charts.grammar import REVISION
from domain.charts.stored import chart_data
from domain.errors import Invalid, Unavailable
from domain.model_runs import ContentKind
from domain.storage import Storage
from domain.transformations import content_key
from service.managers.artifacts import ArtifactManager
from service.managers.model_artifacts import metadata_of, type_of

MOST_CONTENT_BYTES = 64 * 1024**2
_encode = msgspec.json.Encoder().encode

T = TypeVar("T")


class Picture(msgspec.Struct, frozen=True):
    """A chart as a client gets it."""

    content: bytes
    media_type: str


class Charts:
    """Draws charts of tables that clients send, and whatever else has a spec."""

    def __init__(self, renderer: ChartRenderer) -> None:
        self._renderer = renderer

    async def answered(self, make: Callable[[], tuple[Chart, Format]]) -> Picture:
        """A chart that is made in a thread, as its JSON or as a picture. Raises what `make` and `picture` raise."""

        def made() -> tuple[bytes, bytes, Format]:
            chart, format = make()
            return (_encode(chart) if format is Format.JSON else b""), _encode(chart.spec), format

        reply, spec, format = await in_thread(made)
        return Picture(reply, format.media_type) if format is Format.JSON else await self.picture(spec, format)

    async def picture(self, spec: bytes, format: Format) -> Picture:
        """A checked spec as JSON, drawn. Raises `Invalid` for one that cannot be, `Unavailable` when nobody draws."""
        return Picture(await self._renderer.render(spec, format), format.media_type)


class AskedChart(msgspec.Struct, frozen=True, kw_only=True):
    """The chart of an artifact that is wanted; what it shows is known by its `key`."""

    artifact: Artifact
    source: Source
    params: ChartParams
    others: Mapping[str, Artifact]
    key: str


class ArtifactCharts:
    """The charts of artifacts, which may be kept as artifacts themselves."""

    def __init__(self, artifacts: ArtifactManager, storage: Storage, *, code_revision: str | None = None) -> None:
        self._artifacts = artifacts
        self._storage = storage
        self._code_revision = code_revision

    async def asked(self, id: str, params: ChartParams) -> AskedChart:
        """What is wanted of an artifact. Raises `NotFound`, and `Invalid` for one that cannot be drawn."""
        artifact = await self._artifacts.get(id)
        source = source_of(type_of(artifact), artifact.content_kind)
        if source is None:
            kind = f"of the type {type_of(artifact)!r} with content of the kind {artifact.content_kind!r}"
            message = f"Artifact {artifact.id} is {kind}; there are charts of predictions, frames, backtests and charts"
            raise Invalid(message)
        others = {other: await self._artifacts.get(other) for other in params.others}
        hashes = [_drawable(item) for item in (artifact, *others.values())]
        key = content_key("chart", REVISION, params, ".".join(hashes))
        assert key is not None
        return AskedChart(artifact=artifact, source=source, params=params, others=others, key=key)

    async def drawn(self, asked: AskedChart) -> Drawn:
        """The spec that is wanted. Raises `Invalid` for what the content does not have."""
        content = await self._read(asked.artifact)
        others = {id: await self._read(artifact) for id, artifact in asked.others.items()}
        name = str(metadata_of(asked.artifact).get("model") or asked.artifact.id)
        try:
            return await in_thread(lambda: drawn(asked.source, content, asked.params, others, name))
        except ImportError as error:
            raise Unavailable(str(error)) from error

    async def row(self, asked: AskedChart, made: Drawn) -> Artifact:
        """The artifact that keeps a chart, to be saved; its content is stored already."""
        spec = await in_thread(lambda: _encode(made.spec))
        blob = await self._storage.put(spec)
        artifact = asked.artifact
        from_ = [artifact, *asked.others.values()]
        params = msgspec.to_builtins(asked.params)
        return Artifact(
            data=chart_data(made.chart, artifact.id, params, made.spec, blob.size),
            parent_id=artifact.id,
            content_kind=ContentKind.JSON,
            content_sha256=blob.sha256,
            content_bytes=blob.size,
            config_id=artifact.config_id,
            code_revision=self._code_revision,
            inputs={item.id: str(item.content_sha256) for item in from_},
            # What it shows, and the models that have made that.
            parents=list(dict.fromkeys([*(item.id for item in from_), *(id for item in from_ for id in item.parents)])),
        )

    async def keep(self, id: str, params: ChartParams) -> Artifact:
        """Store the chart of an artifact below it."""
        asked = await self.asked(id, params)
        return await self._artifacts.save(await self.row(asked, await self.drawn(asked)))

    async def _read(self, artifact: Artifact) -> bytes:
        return await self._storage.read(_drawable(artifact))


def _drawable(artifact: Artifact) -> str:
    """The hash of the content of an artifact. Raises `Invalid` when it has none that can be drawn."""
    is_json = artifact.content_kind in {ContentKind.JSON, ContentKind.FRAME}
    if artifact.content_sha256 is None or not is_json:
        raise Invalid(
            f"Artifact {artifact.id} has no content that can be drawn, but one of the kind {artifact.content_kind!r}"
        )
    if (artifact.content_bytes or 0) > MOST_CONTENT_BYTES:
        message = f"The content of artifact {artifact.id} has {artifact.content_bytes:,} bytes"
        raise Invalid(f"{message}; at most {MOST_CONTENT_BYTES:,} are drawn")
    return artifact.content_sha256


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that computes without keeping anybody waiting."""
    return await asyncio.to_thread(work)


def encoded_spec(made: Drawn) -> bytes:
    """A spec as JSON."""
    spec: Any = made.spec
    return _encode(spec)
