"""Atomic file replacement: written beside the target, flushed to disk, then renamed over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield an empty file beside `path`, which takes its place when the block ends; an error leaves `path` as it was.

    A file that is replaced keeps its permissions; through a symbolic link its target is replaced, and the link stays.
    Not `durable`, the content may be lost with the machine's power, as is fit for what a restart makes worthless.
    Raises OSError where the folder cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    # Cut, so that a name of the greatest length has room for what is added to it.
    temporary = target.with_name(f".{os.fsdecode(os.fsencode(target.name)[:200])}.{uuid4().hex[:12]}.tmp")
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = None
    # Made with the permissions that it ends with: nobody reads it in between.
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)  # the umask took some away
        os.close(descriptor)
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        with suppress(OSError):  # not every file system has it for folders, and the new content is in place
            sync(target.parent)


def replace_file(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Put this content, text in UTF-8, in place of a file's, or make the file. Raises OSError as `replacing` does."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
