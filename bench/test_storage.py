"""What content costs in storage: against a plain file that is written, synced and hashed."""

import asyncio
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.budgets import Promise
from bench.holding import hold
from bench.results import Figure
from infra.storage.local import LocalStorage

MIB = 1024 * 1024
SIZE_MIB = 64
ROUNDS = 5
PUT_AND_READ = Promise("put and read 64 MiB, to plain", "local storage", "x", gate=0.4, aim=0.8, is_least=True)
"""Throughput as a share of a plain file's: written, synced, hashed, read and hashed again."""


async def test_content_is_kept_and_proved_nearly_as_fast_as_a_plain_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")

    async def measure() -> Sequence[Figure]:
        shares, rates = [], []
        for number in range(ROUNDS):
            content = os.urandom(MIB) * SIZE_MIB
            plain = await asyncio.to_thread(_plain, tmp_path / str(number), content)
            began = time.perf_counter()
            blob = await storage.put(content)
            assert len(await storage.read(blob.sha256)) == len(content)
            ours = time.perf_counter() - began
            await storage.delete(blob.sha256)
            shares.append(plain / ours)
            rates.append(SIZE_MIB / ours)
        return [Figure(PUT_AND_READ, median(shares), f"{median(rates):,.0f} MiB/s")]

    await hold(measure)


def _plain(path: Path, content: bytes) -> float:
    began = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        hashlib.sha256(content).hexdigest()
        file.flush()
        os.fsync(file.fileno())
    hashlib.sha256(path.read_bytes()).hexdigest()
    took = time.perf_counter() - began
    path.unlink()
    return took
