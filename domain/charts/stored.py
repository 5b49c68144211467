"""A chart that is kept: its spec as the content of an artifact, and what it was drawn from."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from domain.charts.grammar import MEDIA_TYPE, SPEC_VERSION

VEGA_CHART = "vega_chart"


class ChartMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Which chart of which artifact it is, with what it was asked for. `description` says what can be seen."""

    chart: str
    artifact_id: str
    params: dict[str, Any]
    description: str
    spec_version: str = SPEC_VERSION


class VegaArtifactData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of an artifact whose content is a Vega-Lite spec; the content itself is in storage."""

    metadata: ChartMetadata
    content_size: int
    type: Literal["vega_chart"] = "vega_chart"
    content_type: str = MEDIA_TYPE


def chart_data(chart: str, artifact_id: str, params: Mapping[str, Any], spec: Mapping[str, Any], size: int) -> Any:
    """The `data` of the artifact of a chart, as JSON values; `size` is that of the spec in bytes."""
    metadata = ChartMetadata(
        chart=chart, artifact_id=artifact_id, params=dict(params), description=str(spec.get("description", ""))
    )
    return msgspec.to_builtins(VegaArtifactData(metadata=metadata, content_size=size))
