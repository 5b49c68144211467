"""Trains a model that is the mean; does badly what it is told to do badly."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

config = dict(line.split(": ", 1) for line in Path("config.yml").read_text().splitlines() if ": " in line)
with Path(sys.argv[1]).open() as file:
    rows = list(csv.DictReader(file))
print(f"{len(rows)} rows, {sys.argv[2:]}")
print("on the other line", file=sys.stderr)
if config.get("fail") == "true":
    print("cannot go on", file=sys.stderr)
    sys.exit(3)
if config.get("endless") == "true":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
    time.sleep(600)
Path("model.json").write_text(json.dumps({"mean": float(rows[0]["rain"]), "month": rows[0]["month"]}))
