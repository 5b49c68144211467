"""A process of its own that puts content into a storage, in ways that tests then disturb."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from domain.errors import Unavailable
from infra.storage.local import LocalStorage

MIB = 1024 * 1024


async def endless() -> AsyncIterator[bytes]:
    yield b"x" * (3 * MIB)
    print("writing", flush=True)
    await asyncio.Event().wait()


async def main(root: Path, how: str) -> None:
    storage = LocalStorage(root)
    if how == "forever":
        await storage.put(endless())
    if how == "often":
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(20):
            await storage.put(bytes([number]) * MIB)
        print("done", flush=True)
    if how == "limited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        for content in (b"x" * (2 * MIB), b"small enough"):
            try:
                print(f"kept {(await storage.put(content)).size}", flush=True)
            except Unavailable as error:
                print(error.detail, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
