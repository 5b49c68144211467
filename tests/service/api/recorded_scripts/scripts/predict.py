"""Predicts what the model says, or fails as its configuration wants it to."""

import csv
import sys
from pathlib import Path

config = Path("config.yml").read_text()
print("argv", sys.argv[1:], "ls", sorted(path.name for path in Path().iterdir()), f"cfg {config.replace(chr(10), ';')}")
print("perr", file=sys.stderr)
if "mode: nooutput" not in config:
    with Path(sys.argv[2]).open() as future, Path(sys.argv[3]).open("w") as output:
        writer = csv.writer(output)
        writer.writerow(["time_period", "location", "sample_0"])
        for row in csv.DictReader(future):
            writer.writerow([row["time_period"], row["location"], Path("model.txt").read_text()])
if "mode: failpredict" in config:
    sys.exit(4)
