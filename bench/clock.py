"""A stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Wall time of a call in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
