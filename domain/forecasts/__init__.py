"""Forecasts as numbers: points, quantiles, samples or classes, one row for each period and location."""

from domain.forecasts.forecast import KEYS, SAMPLE, Forecast, ForecastKind, Key, blocks, by_key
from domain.forecasts.reading import forecast_of

__all__ = ["KEYS", "SAMPLE", "Forecast", "ForecastKind", "Key", "blocks", "by_key", "forecast_of"]
