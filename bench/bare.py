"""The least that a service of this stack can be: `python -m bench.bare <port>` imports the libraries and answers."""

import sys
from typing import Any

import asyncpg  # noqa: F401 - what the service is made of, too
import piccolo.table  # noqa: F401
import structlog  # noqa: F401
import typer  # noqa: F401
import uvicorn
from litestar import Litestar, get


@get("/health")
async def health() -> dict[str, Any]:
    """Always well."""
    return {"status": "healthy"}


if __name__ == "__main__":
    uvicorn.run(Litestar([health]), port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning")
