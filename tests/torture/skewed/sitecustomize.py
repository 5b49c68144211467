"""Shifts the clock of a Python process: every way in which Python itself asks for the time of day.

The monotonic clock and the database's own stay as they are, as on a machine whose clock is wrong.
"""

import ctypes
import gc
import os
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

SECONDS = float(os.environ.get("TORTURE_SKEW_SECONDS", "0"))


def _shift() -> None:
    real_time, real_time_ns, real_now = time.time, time.time_ns, datetime.now

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return real_now(tz) + timedelta(seconds=SECONDS)

    time.time = lambda: real_time() + SECONDS
    time.time_ns = lambda: real_time_ns() + int(SECONDS * 1_000_000_000)
    # The type itself is written in C and closed to assignments, and a subclass would not be the type of anything else.
    [members] = [found for found in gc.get_referents(datetime.__dict__) if isinstance(found, dict)]
    members["now"] = classmethod(now)
    members["utcnow"] = classmethod(lambda cls: now(cls, UTC).replace(tzinfo=None))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))
    _shift_ids()


def _shift_ids() -> None:
    """The ids of a machine are as wrong as its clock."""
    import uuid_utils

    real = uuid_utils.uuid7

    class Shifted:
        def __init__(self) -> None:
            self.int = real().int + (int(SECONDS * 1000) << 80)

    def uuid7(*args: Any, **kwargs: Any) -> Any:
        return Shifted()

    uuid_utils.uuid7 = uuid7


if SECONDS:
    _shift()
