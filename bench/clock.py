"""How long work takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Seconds by a clock on the wall."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
