"""Reads `data.csv` and `config.yml`, writes `model.json`."""

import json
import sys
from pathlib import Path

import yaml

sys.path.insert(0, "outbreak")
import forecast
from domain.frames import DataFrame

config = yaml.safe_load(Path("config.yml").read_text())
data = DataFrame.from_csv(sys.argv[1])
print(f"{len(data)} rows of {data.nunique('location')} locations, by {config['method']}")
if config["method"] == "seasonal":
    model = forecast.fit_seasonal(data)
else:
    model = forecast.fit_regression(data, config["penalty"], config["additional_continuous_covariates"])
Path("model.json").write_text(json.dumps(model))
