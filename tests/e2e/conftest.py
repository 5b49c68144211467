"""A shop with something slow, on either database."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.processes import Serving, serving
from tests.service.cli.modules import shop

Start = Callable[..., AbstractContextManager[Serving]]

SLOW = """
import asyncio

from litestar import get
from litestar.params import FromQuery


@get("/slow")
async def slow(seconds: FromQuery[float]) -> str:
    await asyncio.sleep(seconds)
    return "done"


app = ("""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the shop's module is."""
    shop(tmp_path, ("\napp = (", SLOW), (".with_health()", ".with_health()\n    .include_router(slow)"))
    return tmp_path


@pytest.fixture
def start(folder: Path, database_url: str) -> Start:
    """Serves the shop on a database of either kind."""
    return partial(serving, folder=folder, variables={"DATABASE_URL": database_url})


@pytest.fixture
def start_lite(folder: Path) -> Start:
    """Serves the shop on its embedded database."""
    return partial(serving, folder=folder)
