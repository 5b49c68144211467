"""Reads `model.json`, `historic.csv` and `future.csv`, writes `predictions.csv`."""

import json
import sys
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, "outbreak")
import forecast
from domain.frames import DataFrame

config = yaml.safe_load(Path("config.yml").read_text())
model = json.loads(Path("model.json").read_text())
historic, future = (DataFrame.from_csv(name) for name in sys.argv[1:3])
chance = np.random.default_rng(config["seed"])
if model["method"] == "seasonal":
    rows = forecast.predict_seasonal(model, future, config["samples"], chance)
else:
    rows = forecast.predict_regression(model, historic, future, config["samples"], chance)
columns = ["time_period", "location", *(f"sample_{number}" for number in range(config["samples"]))]
DataFrame(columns, rows).to_csv(sys.argv[3])
print(f"{len(rows)} rows of {config['samples']} samples")
