"""Files of text lines, plain or compressed by gzip or Zstandard, read in blocks without holding them in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from kb.errors import SourceError

_READ = 1 << 16  # little at a time: a few bytes of a hostile file can unpack to a thousand times as many
_BLOCK = 16 << 20
_LONGEST_LINE = 32 << 20  # a longer one is not a record of anything, and must not fill the memory
_TOO_LONG = f"the line is longer than {_LONGEST_LINE >> 20} MiB and was left out"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive whole lines, without the newline after the last."""

    first_line: int
    lines: list[bytes]


def read_lines(path: Path, progress: Callable[[int], None], problem: Callable[[int, str], None]) -> Iterator[LineBlock]:
    """The lines of a file, in blocks of about 16 MiB, told apart by its first bytes and not by its name.

    `progress` is told the bytes read of the file as it lies on disk; `problem` gets line and reason of what is
    lost: the rest of a file whose compression ends early or is damaged, and lines over 32 MiB.
    Raises SourceError for a file that cannot be read at all, is empty, or is binary.
    """
    line = 1
    buffer: list[bytes] = []
    size = 0
    whole = True  # whether the buffer begins with the beginning of a line that is wanted
    read = damaged = False

    def damage(reason: str) -> None:
        nonlocal damaged
        damaged = True
        problem(line, reason)

    def block(data: bytes) -> LineBlock:
        lines = data.split(b"\n")
        if not whole:
            lines[0] = b""
        for i, text in enumerate(lines):
            if len(text) > _LONGEST_LINE:
                problem(line + i, _TOO_LONG)
                lines[i] = b""
        return LineBlock(line, lines)

    for piece in _decompressed(path, progress, damage):
        if not read and b"\0" in piece[:4096]:
            raise SourceError(f"{path} is a binary file; expected are lines of text, plain, .gz or .zst.")
        read = True
        buffer.append(piece)
        size += len(piece)
        if size < _BLOCK:
            continue
        data = b"".join(buffer)
        end = data.rfind(b"\n")
        if end >= 0:
            found = block(data[:end])
            yield found
            line += len(found.lines)
            whole = True
            buffer = [data[end + 1 :]]
        elif len(data) > _LONGEST_LINE or not whole:
            if whole:
                problem(line, _TOO_LONG)
            whole = False
            buffer = []
        else:
            buffer = [data]
        size = sum(map(len, buffer))
    rest = b"".join(buffer)
    if not read and not damaged:
        raise SourceError(f"{path} is empty.")
    if rest:
        yield block(rest.removesuffix(b"\n"))


def _decompressed(path: Path, progress: Callable[[int], None], problem: Callable[[str], None]) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        try:
            data = file.read(_READ)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
        new: Callable[[], _Decompressor] | None = None
        if data.startswith(b"\x1f\x8b"):
            new = lambda: zlib.decompressobj(wbits=31)  # noqa: E731
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            new = lambda: zstandard.ZstdDecompressor().decompressobj()  # noqa: E731
        decompressor = new() if new else None
        while data:
            progress(len(data))
            if decompressor is None or new is None:
                yield data
            else:
                pending = data
                while pending:
                    if decompressor.eof:  # a file may be several compressed ones, end to end
                        decompressor = new()
                    try:
                        piece = decompressor.decompress(pending)
                    except (zlib.error, zstandard.ZstdError) as error:
                        problem(f"the compressed data is damaged from here on ({error}); what came before it went in")
                        return
                    pending = decompressor.unused_data if decompressor.eof else b""
                    if piece:
                        yield piece
            data = file.read(_READ)
        if decompressor is not None and not decompressor.eof:
            problem("the compressed file ends early, as after an unfinished download; what came before it went in")
