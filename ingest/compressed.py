"""Files of text lines, plain or compressed by gzip or Zstandard, read in blocks without holding them in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from kb.errors import SourceError

_READ = 1 << 20
_BLOCK = 16 << 20
_LONGEST_LINE = 32 << 20  # a longer one is not a record of anything, and must not fill the memory


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
    rest = b""
    too_long = False
    pieces = _decompressed(path, progress, lambda reason: problem(line, reason))
    buffer: list[bytes] = []
    size = 0
    first = True
    for piece in pieces:
        if first and b"\0" in piece[:4096]:
            raise SourceError(f"{path} is a binary file; expected are lines of text, plain, .gz or .zst.")
        first = False
        buffer.append(piece)
        size += len(piece)
        if size < _BLOCK:
            continue
        rest = b"".join(buffer)
        end = rest.rfind(b"\n")
        if end < 0:
            if len(rest) > _LONGEST_LINE or too_long:
                if not too_long:
                    problem(line, f"the line is longer than {_LONGEST_LINE >> 20} MiB and was left out")
                too_long = True
                rest = b""
            buffer, size = [rest], len(rest)
            continue
        block = rest[:end].split(b"\n")
        if too_long:  # its end; the lines after it are whole
            block[0] = b""
            too_long = False
        yield LineBlock(line, block)
        line += len(block)
        buffer, size = [rest[end + 1 :]], len(rest) - end - 1
    rest = b"".join(buffer)
    if first:
        raise SourceError(f"{path} is empty.")
    if rest and not too_long:
        yield LineBlock(line, rest.removesuffix(b"\n").split(b"\n"))


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
