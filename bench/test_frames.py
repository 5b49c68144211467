"""What frames promise: on the wire nearly as quick as plain lists, and a million rows in seconds and little memory."""

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.budgets import Promise
from bench.holding import compared, hold
from bench.results import Figure
from domain.frames import DataFrame
from domain.frames.structure import validate_structure

WHERE = "in memory"
DECODED = Promise("frame decode, check, to lists", WHERE, "x", gate=0.5, aim=0.8, is_least=True)
ENCODED = Promise("frame encode, to plain lists", WHERE, "x", gate=0.5, aim=0.9, is_least=True)
CHECKED = Promise("frame check, of its decode", WHERE, "%", gate=20, aim=5)
MILLION = Promise("a million rows there and back", WHERE, "s", gate=20, aim=5)
MEMORY = Promise("memory for it, to plain lists", WHERE, "x", gate=1.3, aim=1.1)

COLUMNS = ["time_period", "location", "disease_cases", "population", "rainfall", "mean_temperature"]
ROWS, ROUNDS = 100_000, 7

SCRIPT = """
import resource, sys, time
import msgspec
from bench.test_frames import body
from domain.frames import DataFrame
content = body(1_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
if sys.argv[1] == "frame":
    written = DataFrame.decode(content).encode()
else:
    written = msgspec.json.encode(msgspec.json.decode(content))
seconds = time.perf_counter() - began
assert written == content
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def body(rows: int) -> bytes:
    """A frame of many rows on the wire, made so that it takes little memory."""
    tail = b"%d.0,%d,%d.25,21.5]"
    lines = (
        b'["2020-%02d","location_%d",' % (row % 12 + 1, row % 1_000)
        + tail % (row % 97, 100_000 + row % 1_000, row % 300)
        for row in range(rows)
    )
    return b'{"columns":' + msgspec.json.encode(COLUMNS) + b',"data":[' + b",".join(lines) + b"]}"


def rate(work: Callable[[], Any]) -> float:
    """How often work is done in a second; what it leaves is gone when the clock starts and when it stops."""
    gc.collect()
    began = time.perf_counter()
    work()
    return 1 / (time.perf_counter() - began)


async def test_a_frame_is_read_and_written_nearly_as_quickly_as_plain_lists() -> None:
    content = body(ROWS)
    frame, plain = DataFrame.decode(content), msgspec.json.decode(content)
    assert frame.encode() == msgspec.json.encode(plain) == content

    async def measure() -> Sequence[Figure]:
        reads, writes, checks = [], [], []
        for _ in range(ROUNDS):
            lists = rate(lambda: msgspec.json.decode(content))
            reads.append((rate(lambda: DataFrame.decode(content)), lists))
            writes.append((rate(frame.encode), rate(lambda: msgspec.json.encode(plain))))
            checks.append(100 * lists / rate(lambda: validate_structure(frame)))
        return [
            compared(DECODED, reads, "frames", "lists"),
            compared(ENCODED, writes, "frames", "lists"),
            Figure(CHECKED, median(checks), f"{ROWS:,} rows"),
        ]

    await hold(measure)


async def test_a_million_rows_go_there_and_back_in_seconds_and_in_the_memory_of_plain_lists() -> None:
    async def measure() -> Sequence[Figure]:
        (seconds, memory), (plain_seconds, plain_memory) = (_there_and_back(kind) for kind in ("frame", "lists"))
        return [
            Figure(MILLION, seconds, f"plain lists {plain_seconds:.2f} s"),
            Figure(
                MEMORY, memory / plain_memory, f"{memory / 1024:,.0f} MiB, plain lists {plain_memory / 1024:,.0f} MiB"
            ),
        ]

    await hold(measure)


def _there_and_back(kind: str) -> tuple[float, float]:
    # The most memory a process has ever had can only be asked for once.
    command = [sys.executable, "-c", SCRIPT, kind]
    written = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
    seconds, memory = map(float, written.split())
    return seconds, memory
