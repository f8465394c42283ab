"""Reader of text lines, plain or compressed by gzip or Zstandard, in blocks of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from kb.errors import SourceError

_CHUNK_BYTES = 1 << 16  # little at a time: a few bytes of a hostile file can unpack to a thousand times as many
_BLOCK_BYTES = 16 << 20
_MAX_LINE_BYTES = 32 << 20  # a longer one is not a record of anything, and must not fill the memory
_TOO_LONG = f"the line is longer than {_MAX_LINE_BYTES >> 20} MiB and was left out"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Block of consecutive whole lines, without the newline after the last."""

    first_line: int
    lines: list[bytes]


def read_lines(path: Path, progress: Callable[[int], None], problem: Callable[[int, str], None]) -> Iterator[LineBlock]:
    """Read the lines of a file in blocks of about 16 MiB; the compression is recognised by the first bytes.

    `progress` gets the number of bytes read from disk; `problem` gets line and reason of what is lost: the rest of a file
    whose compression ends early or is damaged, and lines over 32 MiB.
    Raises SourceError if the file cannot be read at all, is empty, or is binary.
    """
    line = 1
    buffer: list[bytes] = []
    size = 0
    whole = True  # False while the buffer continues a line that is too long
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
            if len(text) > _MAX_LINE_BYTES:
                problem(line + i, _TOO_LONG)
                lines[i] = b""
        return LineBlock(line, lines)

    for piece in _decompressed(path, progress, damage):
        if not read and b"\0" in piece[:4096]:
            raise SourceError(f"{path} is a binary file; expected are lines of text, plain, .gz or .zst.")
        read = True
        buffer.append(piece)
        size += len(piece)
        if size < _BLOCK_BYTES:
            continue
        data = b"".join(buffer)
        end = data.rfind(b"\n")
        if end >= 0:
            found = block(data[:end])
            yield found
            line += len(found.lines)
            whole = True
            buffer = [data[end + 1 :]]
        elif len(data) > _MAX_LINE_BYTES or not whole:
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
            data = file.read(_CHUNK_BYTES)
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
            data = file.read(_CHUNK_BYTES)
        if decompressor is not None and not decompressor.eof:
            problem("the compressed file ends early, as after an unfinished download; what came before it went in")
