"""Rate-limited, retrying HTTP session for arXiv, shared between processes by a file lock.

arXiv's terms allow one request in three seconds and one connection at a time, over its API and OAI-PMH together. The
lock is held from before a request until its response is read; the note beside it says when the last request was sent.
Errors that may pass are retried after growing pauses.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from filelock import FileLock
from lxml import etree
from platformdirs import user_state_path
from urllib3.exceptions import ReadTimeoutError

from kb.errors import SourceError
from kb.progress import NoProgress, Progress

API_URL = "https://export.arxiv.org/api/query"
OAI_URL = "https://oaipmh.arxiv.org/oai"
_DELAY = 3.0
_MAX_ATTEMPTS = 8
_MAX_BACKOFF = 100  # the pause between attempts grows to so many times the delay: five minutes for arXiv
_MAX_RETRY_AFTER = 3600.0  # seconds; a server that asks for more is to be asked another time
_MAX_RESPONSE_BYTES = 64 << 20  # decompressed; a page of 3,500 records is some 10 MB
_MAX_REDIRECTS = 3
_MAX_SERVICE_ERRORS = 3  # error messages in a row that count as an answer
_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class InvalidResponseError(Exception):
    """A response that is not what was asked for, and may be after another request: HTML, a cut feed, a short page."""


class ServiceError(InvalidResponseError, SourceError):
    """The service's own error message. A retryable one counts as final after several requests in a row."""

    retryable = True


class RejectedError(SourceError):
    """An HTTP status that does not change when the request is repeated."""


Validator = Callable[[str, bytes], None]
"""Takes address and body of a response; raises InvalidResponseError or ServiceError."""


def request_delay() -> float:
    """Seconds between two requests, from KB_ARXIV_DELAY. Raises SourceError if that is no number."""
    text = os.environ.get("KB_ARXIV_DELAY", "")
    try:
        seconds = float(text) if text else _DELAY
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SourceError(f"KB_ARXIV_DELAY is {text!r}; it is the pause between two requests in seconds, such as 3.")
    return seconds


def state_folder() -> Path:
    """Folder shared by all processes of this user; KB_STATE_DIR puts it elsewhere."""
    return Path(os.environ.get("KB_STATE_DIR") or user_state_path("paper-kb"))


@dataclass(slots=True)
class RequestCounts:
    """Number of requests that a job sent."""

    requests: int = 0
    """All of them, retries included."""
    retries: int = 0


class RequestLock:
    """Lock for the time of one request, held by one process of this user at a time.

    The note beside the lock describes the last request: `started` before it, `ended` after it, then two times in seconds
    since 1970: when that was, and before when nobody may ask again. `started` without an owner is from a killed process;
    the next one waits the full delay.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        """Prepares the lock for a delay of `seconds`. Raises SourceError if the folder cannot be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{folder} cannot be written: {error.strerror}. Set KB_STATE_DIR to another folder.") from error
        self._lock = FileLock(folder / "arxiv.lock")
        self._note = folder / "arxiv.last"
        self._delay = seconds

    def wait(self) -> float:
        """Seconds until the next request may be sent."""
        state, at, not_before = self._read()
        now = time.time()
        pause = self._delay if state == "started" else max(0.0, min(at + self._delay - now, self._delay))
        return max(pause, min(not_before - now, _MAX_RETRY_AFTER))

    def __enter__(self) -> RequestLock:
        """Takes the lock and sleeps until the request may be sent."""
        self._lock.acquire()
        try:
            wait = self.wait()
            if wait > 0:
                time.sleep(wait)
            self._write("started", 0.0)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Notes the end of the request and releases the lock; a time set by `defer` is kept."""
        state, _at, not_before = self._read()
        if state == "started":
            self._write("ended", not_before)
        self._lock.release()

    def defer(self, seconds: float) -> None:
        """Keeps every process from sending the next request before so many seconds have passed."""
        self._write("started", time.time() + seconds)

    def _read(self) -> tuple[str, float, float]:
        try:
            state, at, not_before = self._note.read_text(encoding="utf-8").split()
            return state, float(at), float(not_before)
        except FileNotFoundError:
            return "ended", 0.0, 0.0
        except ValueError:  # cut by a full disk or a killed writer: as after a killed request
            return "started", 0.0, 0.0

    def _write(self, state: str, not_before: float) -> None:
        self._note.write_text(f"{state} {time.time():.6f} {not_before:.6f}\n", encoding="utf-8")


class ArxivSession(requests.Session):
    """HTTP session whose every `get` is rate-limited, timed out, validated and retried.

    `timeout` is in seconds: for the connection, for a silence in the body, and five times that for a whole response.
    `progress` is told of the pauses before retries.
    """

    def __init__(self, validate: Validator, timeout: float = 60.0, progress: Progress | None = None) -> None:
        """Opens the session. Raises SourceError if KB_ARXIV_DELAY or the state folder cannot be used."""
        super().__init__()
        self.headers["User-Agent"] = f"paper-kb/{version('paper-kb')}"
        self.counts = RequestCounts()
        self._validate = validate
        self._timeout = timeout
        self._progress = progress or NoProgress()
        self._delay = request_delay()
        self._request_lock = RequestLock(state_folder(), self._delay)

    def get(self, url: str | bytes, **_: object) -> requests.Response:
        """Fetch the valid response to a request, its body read.

        Raises ServiceError for the service's own error message, RejectedError for a status that does not change, and
        SourceError where no valid response came in all attempts.
        """
        address = url.decode() if isinstance(url, bytes) else url
        problem = ""
        errors = 0
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                self.counts.retries += 1
                pause = min(2 ** (attempt - 1), _MAX_BACKOFF) * self._delay
                reason = problem if problem.endswith("?") else f"{problem}."
                attempts = f"Attempt {attempt + 1} of {_MAX_ATTEMPTS}"
                self._progress.wait(f"arXiv cannot be read: {reason} {attempts}", max(pause, self._request_lock.wait()))
                time.sleep(pause)
            try:
                response = self._follow(address)
                if response.status_code == 200:
                    self._validate(address, response.content)
                    if attempt:
                        self._progress.advance(0)
                    return response
                problem = f"it answered {response.status_code} {response.reason}"
                if response.status_code not in _RETRYABLE_STATUS:
                    errors = _MAX_SERVICE_ERRORS
                    self._validate(address, response.content)  # raises what the body says, in the service's own form
                    raise RejectedError(f"{_shown(address)} cannot be read: {problem}.")
            except ServiceError as error:
                errors += 1
                if errors >= _MAX_SERVICE_ERRORS or not error.retryable:
                    raise type(error)(f"{_shown(address)} cannot be read: {error}.") from None
                problem = str(error)
            except InvalidResponseError as error:
                if errors >= _MAX_SERVICE_ERRORS:
                    raise RejectedError(f"{_shown(address)} cannot be read: {problem}.") from None
                problem = str(error)
            except requests.RequestException as error:
                problem = _reason(error)
        raise SourceError(f"{_shown(address)} cannot be read, after {_MAX_ATTEMPTS} attempts: {problem}.")

    def _follow(self, address: str) -> requests.Response:
        """Send a request and follow its redirects, each under the lock. Raises requests.RequestException."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(address)
            if not response.is_redirect:
                return response
            address = urljoin(address, response.headers["Location"])
            if urlsplit(address).scheme not in {"http", "https"}:
                break
        raise requests.TooManyRedirects("it redirects without end")

    def _send(self, address: str) -> requests.Response:
        """Send one request and read the body, bounded in time and size.

        Raises requests.RequestException, and SourceError where the server asks for a pause of over an hour.
        """
        with self._request_lock:
            self.counts.requests += 1
            with super().get(address, timeout=self._timeout, stream=True, allow_redirects=False) as response:
                deadline = time.monotonic() + 5 * self._timeout
                body = bytearray()
                for piece in response.iter_content(1 << 14):
                    body += piece
                    if time.monotonic() > deadline:
                        raise requests.ReadTimeout("the answer takes too long")
                    if len(body) > _MAX_RESPONSE_BYTES:
                        raise requests.ConnectionError(f"the answer is larger than {_MAX_RESPONSE_BYTES >> 20} MiB")
                response._content = bytes(body)
                if response.status_code in _RETRYABLE_STATUS and (wait := _retry_after(response)):
                    if wait > _MAX_RETRY_AFTER:
                        raise SourceError(
                            f"{_shown(address)} answered {response.status_code} and wants to be left alone for "
                            f"{wait / 3600:.0f} hours."
                        )
                    self._request_lock.defer(wait)
                return response


def parse_xml(content: bytes) -> etree._Element:
    """Parse a response. Raises InvalidResponseError for a web page and for a cut or damaged document."""
    if re.match(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+)?html", content[:500], re.IGNORECASE):
        raise InvalidResponseError("it answered with a web page")
    try:
        return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise InvalidResponseError(f"it answered with no whole document ({error.msg})") from None


def _retry_after(response: requests.Response) -> float:
    """Seconds of the Retry-After header; 0 without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _reason(error: requests.RequestException) -> str:
    """Short cause of a failed request, for messages."""
    match error:
        case requests.ConnectTimeout():
            return "no connection within the time-out"
        case requests.Timeout():
            return "the answer stalled"
        case requests.ConnectionError(args=(ReadTimeoutError(), *_)):  # in the middle of the body
            return "the answer stalled"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection broke in the middle of the answer"
        case requests.ConnectionError():
            return "the connection failed; is this machine online?"
        case _:
            return str(error)


def _shown(address: str) -> str:
    """Address, shortened for messages."""
    return address if len(address) <= 160 else address[:160] + "…"
