"""Locks between processes: a file that one process holds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kb.errors import BusyError, StoreError
from kb.files import make_private


@contextmanager
def holding(path: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file while the block runs; its folder is made where there is none.

    Raises BusyError with the message `busy` where another holds it for longer than `wait` seconds, and StoreError where
    the folder cannot be written.
    """
    lock = FileLock(path)
    try:
        make_private(path.parent)
        lock.acquire(timeout=wait)
    except Timeout:
        raise BusyError(busy) from None
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be written: {error.strerror}. Choose another folder with --home.") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock file now."""
    if not path.exists():
        return False
    try:
        with holding(path, ""):
            return False
    except BusyError:
        return True
