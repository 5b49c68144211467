"""Charts of tables that clients send."""

from collections.abc import Sequence
from typing import Self

from service.builder.core import Core, checked_prefix
from service.choices import ChartsPlan


class ChartsOffered(Core):
    """What draws tables."""

    def with_charts(self, prefix: str = "/api/v1/visualizations", *, tags: Sequence[str] = ("visualizations",)) -> Self:
        """Offer charts of tables: as their Vega-Lite grammar, as pictures and as pages that need no internet.

        Pictures and pages need `pip install 'millrace[charts]'`. Artifacts have charts without this.
        """
        self._choices.charts = ChartsPlan(checked_prefix("with_charts", prefix), tuple(tags))
        return self
