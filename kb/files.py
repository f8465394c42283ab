"""Atomic file replacement: written beside the target, flushed to disk, then renamed over it; and private folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path, *, durable: bool = True, mode: int = 0o666) -> Iterator[Path]:
    """Yield an empty file beside `path`, which takes its place when the block ends; an error leaves `path` as it was.

    A file that is replaced keeps its permissions, a new one gets those of `mode` that the umask leaves; through a symbolic
    link its target is replaced, and the link stays.
    Not `durable`, the content may be lost with the machine's power, as is fit for what a restart makes worthless.
    Raises OSError where the folder cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    # Cut, so that a name of the greatest length has room for what is added to it.
    temporary = target.with_name(f".{os.fsdecode(os.fsencode(target.name)[:200])}.{uuid4().hex[:12]}.tmp")
    try:
        present: int | None = target.stat().st_mode & 0o777
    except FileNotFoundError:
        present = None
    # Made with the permissions that it ends with, writable for its owner: nobody else reads it in between.
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode if present is None else present | 0o600)
    try:
        os.close(descriptor)
        yield temporary
        if present is not None:
            temporary.chmod(present)
        if durable:
            sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        with suppress(OSError):  # not every file system has it for folders, and the new content is in place
            sync(target.parent)


def replace_file(path: Path, content: bytes | str, *, durable: bool = True, mode: int = 0o666) -> None:
    """Put this content, text in UTF-8, in place of a file's, or make the file. Raises OSError as `replacing` does."""
    with replacing(path, durable=durable, mode=mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone; one that is there stays as it is.

    Raises OSError where it cannot be made.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def is_full(folder: Path) -> bool:
    """Whether the disk, or the user's quota, has no room for a small file in this folder."""
    probe = folder / f".{uuid4().hex[:12]}.tmp"
    try:
        probe.write_bytes(bytes(1 << 16))
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    finally:
        with suppress(OSError):
            probe.unlink()
    return False
