"""The service that is served by several processes: accounts, on the database of the environment."""

from typing import Any

from bench.server import service

app: Any = service(None)
"""For `millrace serve`."""
