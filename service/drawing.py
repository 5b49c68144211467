"""Opens what draws charts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.charts.renderer import VlConvertRenderer
from service.managers.charts import Charts


@asynccontextmanager
async def drawing() -> AsyncIterator[Charts]:
    """What draws; its process is started by the first picture."""
    renderer = VlConvertRenderer()
    try:
        yield Charts(renderer)
    finally:
        await renderer.close()
