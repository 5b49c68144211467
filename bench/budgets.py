"""The promises with numbers: what must hold (gate) and what we aim for."""

from typing import NamedTuple


class Budget(NamedTuple):
    """One operation on one database against its limit: a bare ASGI app that makes the same reply on the same server.

    `gate` and `aim` are shares of the limit's requests per second with many connections. `p99` and `p50` bound the
    time of a request on one connection in milliseconds; `p99` is a gate, `p50` an aim; None means no promise.
    """

    operation: str
    database: str
    gate: float
    aim: float
    p99: float | None = None
    p50: float | None = None


BUDGETS = (
    Budget("get", "postgresql", gate=0.40, aim=0.60),
    Budget("page", "postgresql", gate=0.40, aim=0.90),
    Budget("list", "postgresql", gate=0.90, aim=1.50),
    Budget("query", "postgresql", gate=0.75, aim=1.00, p99=100, p50=10),
    Budget("post", "postgresql", gate=0.40, aim=0.60),
    Budget("get", "sqlite", gate=0.22, aim=0.60),
    Budget("page", "sqlite", gate=0.45, aim=0.90),
    Budget("list", "sqlite", gate=0.60, aim=0.90),
    Budget("query", "sqlite", gate=0.60, aim=0.90, p99=100, p50=10),
    Budget("post", "sqlite", gate=0.18, aim=0.60),
)
"""Gates leave a margin of two to what a quiet machine measures. Above 100 % the database writes the JSON faster."""

ROWS = 1_000
CONNECTIONS = 32
ROUNDS = 5
ROUND_SECONDS = 0.5
WARM_UP_SECONDS = 0.3
LATENCY_SECONDS = 0.25
