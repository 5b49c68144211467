"""Charts as replies: pictures and pages that a browser shows, and runs nothing of that is not theirs."""

from collections.abc import Mapping
from typing import Any

from litestar import Response

from domain.charts import Format
from service.managers.charts import Picture

PICTURES = tuple(format.media_type.partition(";")[0] for format in Format if format is not Format.JSON)
"""As what a chart may come besides JSON."""

# The page brings its own policy for what it loads; here it is kept apart from everything else of this service.
_POLICIES = {
    Format.HTML.media_type: "sandbox allow-scripts allow-downloads",
    Format.SVG.media_type: "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}


def shown(picture: Picture, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The reply that is a picture."""
    safe = {"x-content-type-options": "nosniff", **(headers or {})}
    if policy := _POLICIES.get(picture.media_type):
        safe["content-security-policy"] = policy
    # Litestar says by itself how text is encoded.
    media_type = picture.media_type.partition(";")[0]
    return Response(picture.content, media_type=media_type, headers=safe)
