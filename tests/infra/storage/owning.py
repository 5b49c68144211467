"""A process of its own with a scratch folder that it never gives up."""

import asyncio
import sys
from pathlib import Path

from infra.storage.scratch import Scratch


async def main(root: Path) -> None:
    async with Scratch(root).directory("job") as path:
        (path / "file").write_text("x")
        print("working", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
