"""Predicts the mean."""

import csv
import json
import sys
from pathlib import Path

config = Path("config.yml").read_text()
model = json.loads(Path("model.json").read_text())
with Path(sys.argv[2]).open() as file:
    rows = list(csv.DictReader(file))
print(f"{len(rows)} periods to come")
if "silent: true" in config:
    sys.exit(0)
if "broken: true" in config:
    sys.exit("no prediction today")
with Path(sys.argv[3]).open("w") as file:
    writer = csv.writer(file)
    writer.writerow(["time_period", "location", "sample_0", "sample_1"])
    for row in rows:
        writer.writerow([row["time_period"], row["location"], model["mean"], "1e-05"])
