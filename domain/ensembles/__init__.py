"""Several forecasts made one."""

from domain.ensembles.strategies import Strategy

__all__ = ["Strategy"]
