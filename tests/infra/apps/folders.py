"""Makes the folders of apps for tests."""

import json
from pathlib import Path
from typing import Any


def make_app(folder: Path, files: dict[str, str | bytes] | None = None, **manifest: Any) -> Path:
    """An app in a folder, with a page and further files."""
    said = {"name": folder.name, "version": "1.0.0", "prefix": f"/{folder.name}", **manifest}
    contents: dict[str, str | bytes] = {"manifest.json": json.dumps(said), "index.html": "<h1>Hi</h1>", **(files or {})}
    for name, content in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
