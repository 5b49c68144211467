"""Prints the body of a request about the districts: `bodies.py train CONFIG`, `predict MODEL`, `backtest CONFIG …`."""

import sys
from collections.abc import Sequence

import msgspec

from domain.evaluations import BacktestRequest
from domain.ml import PredictRequest, RunInfo, TrainRequest
from weekly import HORIZON, load

USAGE = "bodies.py train CONFIG | predict MODEL | backtest CONFIG …"


def body(kind: str, names: Sequence[str]) -> msgspec.Struct:
    """The request of a kind, about configurations or a model with these names."""
    known = load()
    told = RunInfo(prediction_periods=HORIZON)
    if kind == "train":
        return TrainRequest(config_id=names[0], data=known.data, geo=known.geo, run_info=told)
    if kind == "predict":
        return PredictRequest(model=names[0], historic=known.data, future=known.future, geo=known.geo, run_info=told)
    return BacktestRequest(config_ids=list(names), data=known.data, geo=known.geo, horizon=HORIZON, splits=2, stride=6)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in {"train", "predict", "backtest"}:
        sys.exit(USAGE)
    print(msgspec.json.encode(body(sys.argv[1], sys.argv[2:])).decode())
