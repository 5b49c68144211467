"""What charts need from the world."""

from typing import Protocol

from domain.charts.kinds import Format


class ChartRenderer(Protocol):
    """Draws specs."""

    async def render(self, spec: bytes, format: Format) -> bytes:
        """A picture or a page of a checked spec, which is JSON; `Format.JSON` is the spec as it is.

        Raises `Invalid` for a spec that cannot be drawn, and `Unavailable` when nothing draws, or it takes too much.
        """
        ...

    async def close(self) -> None:
        """End whatever draws."""
        ...
