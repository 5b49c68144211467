"""A model as a class."""

from abc import ABC, abstractmethod
from typing import Any

from domain.frames import DataFrame, FeatureCollection
from domain.ml import Diagnostic


class BaseModelRunner(ABC):
    """A model as a class. Every run has a process of its own, so nothing kept in `self` outlives one.

    `config` is the service's own Struct, `data`, `historic` and `future` are frames, `geo` the geometries if there are
    any. What `on_train` returns is stored and given to `on_predict`: JSON values, frames and bytes as what they are,
    anything else as a pickle that carries this service's signature.
    """

    async def on_init(self) -> None:  # noqa: B027 - to be overridden or left as it is
        """Called before each run."""

    async def on_cleanup(self) -> None:  # noqa: B027
        """Called after each run, however it went."""

    @abstractmethod
    async def on_train(self, config: Any, data: DataFrame, geo: FeatureCollection | None = None) -> Any:
        """Fit a model and return it."""

    @abstractmethod
    async def on_predict(
        self,
        config: Any,
        model: Any,
        historic: DataFrame,
        future: DataFrame,
        geo: FeatureCollection | None = None,
    ) -> DataFrame:
        """Predict the periods of `future`; columns `time_period`, `location`, `sample_0`, `sample_1`, …"""

    async def on_validate_train(
        self, config: Any, data: DataFrame, geo: FeatureCollection | None = None
    ) -> list[Diagnostic]:
        """What is wrong with a request to train, beyond what the service finds by itself."""
        return []

    async def on_validate_predict(
        self, config: Any, historic: DataFrame, future: DataFrame, geo: FeatureCollection | None = None
    ) -> list[Diagnostic]:
        """What is wrong with a request to predict, beyond what the service finds by itself."""
        return []
