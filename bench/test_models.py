"""What a service around a model promises: requests and artifacts cost little more than their bytes do."""

import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest

from bench.budgets import Promise
from bench.holding import hold
from bench.results import Figure
from bench.test_frames import body
from domain.ml import TrainRequest
from tests.service.api.jobs_service import staged
from tests.service.api.model_service import ARTIFACTS, CONFIGS, ML, builder, functional

ROWS, TIMES = 5_000, 20
SUBMIT = Promise("$train of 5,000 rows, to bare", "sqlite", "x", gate=0.04, aim=0.4, is_least=True)
"""Requests per second as a share of decoding the same body once and writing it to a synced file."""
READ = Promise("artifact of 246 KiB, to config", "sqlite", "x", gate=0.05, aim=0.3, is_least=True)
"""Reads per second of an artifact of 5,000 rows as a share of reads of a configuration."""


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """How long work takes, in the middle of many times."""
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return median(took)


async def test_requests_and_artifacts_cost_little_more_than_their_bytes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async def measure() -> list[Figure]:
        return await _measured(tmp_path_factory.mktemp("model"))

    await hold(measure)


async def _measured(folder: Path) -> list[Figure]:
    kept = {"storage_folder": folder / "storage", "temporary_folder": folder / "scratch", "worker": "false"}
    url = f"sqlite:///{folder / 'model.db'}"
    async with staged(url, None, lambda place: builder(place, functional()), **kept) as stage:
        config = (await stage.post(CONFIGS, {"name": "c", "data": {}}, status=201))["id"]
        frame = body(ROWS)
        request = b'{"config_id":"' + config.encode() + b'","data":' + frame + b"}"

        async def submit() -> None:
            reply = await stage.client.post(
                f"{ML}/$train", content=request, headers={"content-type": "application/json"}
            )
            assert reply.status_code == 202

        async def by_hand() -> None:
            msgspec.json.decode(request, type=TrainRequest)
            _keep(folder / hashlib.sha256(request).hexdigest(), request)

        data = {"type": "generic", "content": msgspec.Raw(frame), "content_type": "application/json"}
        made = await stage.client.post(
            ARTIFACTS, content=msgspec.json.encode({"data": data}), headers={"content-type": "application/json"}
        )
        artifact = f"{ARTIFACTS}/{made.json()['id']}"
        taken, plain = await seconds(submit), await seconds(by_hand)
        whole = await seconds(lambda: stage.client.get(artifact))
        small = await seconds(lambda: stage.client.get(f"{CONFIGS}/{config}"))
    beside = f"{taken * 1000:.1f} ms for {len(request) // 1024} KiB, by hand {plain * 1000:.1f} ms"
    given = f"{whole * 1000:.1f} ms for {len(frame) // 1024} KiB, a config {small * 1000:.1f} ms"
    return [Figure(SUBMIT, plain / taken, beside), Figure(READ, small / whole, given)]


def _keep(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
