"""A model as functions."""

from collections.abc import Awaitable, Callable
from typing import Any

from domain.frames import DataFrame, FeatureCollection
from domain.ml import Diagnostic

Train = Callable[[Any, DataFrame, FeatureCollection | None], Any | Awaitable[Any]]
Predict = Callable[[Any, Any, DataFrame, DataFrame, FeatureCollection | None], DataFrame | Awaitable[DataFrame]]
ValidateTrain = Callable[[Any, DataFrame, FeatureCollection | None], list[Diagnostic] | Awaitable[list[Diagnostic]]]
ValidatePredict = Callable[
    [Any, DataFrame, DataFrame, FeatureCollection | None], list[Diagnostic] | Awaitable[list[Diagnostic]]
]


class FunctionalModelRunner:
    """A model as functions, `def` or `async def`, of a module.

    `on_train(config, data, geo)` returns the model, `on_predict(config, model, historic, future, geo)` the frame of
    predictions; the two others return what they find wrong with a request.
    """

    def __init__(
        self,
        on_train: Train,
        on_predict: Predict,
        on_validate_train: ValidateTrain | None = None,
        on_validate_predict: ValidatePredict | None = None,
    ) -> None:
        self.on_train = on_train
        self.on_predict = on_predict
        self.on_validate_train = on_validate_train
        self.on_validate_predict = on_validate_predict
