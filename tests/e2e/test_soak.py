"""A service under load stays as small as it is; `make soak` has it so for ten minutes."""

from pathlib import Path

import pytest

from bench.soak import soak

SECONDS = 6.0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_memory_and_open_files_stay_flat_under_mixed_load(
    database: str, tmp_path: Path, request: pytest.FixtureRequest, redis_url: str
) -> None:
    url = f"sqlite:///{tmp_path}/soak.sqlite3" if database == "sqlite" else request.getfixturevalue("postgres_url")
    found = await soak(url, SECONDS, redis_url if database == "postgresql" else None)
    assert found.after.requests > found.before.requests
    assert not found.faults, found
