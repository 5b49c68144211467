"""Says what it has been given, and leaves a model."""

import sys
from pathlib import Path

config = Path("config.yml").read_text()
print("argv", sys.argv[1:], "ls", sorted(path.name for path in Path().iterdir()))
print(f"cfg: {config.replace(chr(10), ';')}")
print("warn", file=sys.stderr)
Path("model.txt").write_text("1.5")
if "mode: failtrain" in config:
    sys.exit(3)
