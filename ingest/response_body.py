"""Reading of an HTTP response body, bounded in size and time."""

from __future__ import annotations

import time

import requests

# Compressed bytes read at once: hostile ones unpack to a thousand times as many before they are counted.
_CHUNK_BYTES = 1 << 14


def read_body(response: requests.Response, max_bytes: int, seconds: float) -> bytes:
    """Read the body of a streamed response, unpacked.

    Raises requests.exceptions.ContentDecodingError if it is larger than `max_bytes`, and requests.ReadTimeout if it takes
    longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_content(_CHUNK_BYTES):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise requests.ReadTimeout("the answer takes too long")
        if size > max_bytes:
            raise requests.exceptions.ContentDecodingError(f"the answer is larger than {max_bytes >> 20} MiB")
    return b"".join(pieces)
