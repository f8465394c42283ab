"""Rate-limited, retrying HTTP session for arXiv, shared between processes by a file lock.

arXiv's terms allow one request in three seconds and one connection at a time, over its API and OAI-PMH together. The
lock is held from before a request until its response is read; the note beside it says when the last request was sent.
Errors that may pass are retried after growing pauses; a longer pause that arXiv asks for binds every process.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import metadata
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from filelock import FileLock
from lxml import etree
from platformdirs import user_state_path
from urllib3.exceptions import LocationParseError, ReadTimeoutError

from ingest.response_body import read_body
from kb.errors import SourceError
from kb.progress import NoProgress, Progress

API_URL = "https://export.arxiv.org/api/query"
OAI_URL = "https://oaipmh.arxiv.org/oai"
_DELAY = 3.0
_MAX_ATTEMPTS = 8
_MAX_BACKOFF = 100  # the pause between attempts grows to so many times the delay: five minutes for arXiv
_MAX_SLEEP = 3600.0  # seconds; from here on a pause that arXiv asks for ends the run instead of holding it
_MAX_PAUSE = 7 * 24 * 3600.0  # seconds; a longer Retry-After is a mistake
_MAX_RESPONSE_BYTES = 64 << 20  # a page of 3,500 records is some 10 MB
_MAX_REDIRECTS = 3
_MAX_SERVICE_ERRORS = 3  # error messages in a row that count as an answer
_THROTTLE_STATUS = frozenset({403, 406, 429})  # arXiv's edge answers 406, sometimes 403, where others say 429
_RETRYABLE_STATUS = _THROTTLE_STATUS | {408, 425, 500, 502, 503, 504}
_PAGE_STATUS = frozenset({500, 502, 504})  # also of a page that holds a record which the server cannot render
_MALFORMED = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)
# What XML 1.0 forbids, as bytes of UTF-8 and as references; a parser ends there.
_FORBIDDEN = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01])|"
    rb"[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]|[dD][89a-fA-F][0-9a-fA-F]{2}|[fF]{3}[eEfF]));"
)


class InvalidResponseError(Exception):
    """A response that is not what was asked for, and may be after another request: HTML, a cut feed, a short page."""


class ServiceError(InvalidResponseError, SourceError):
    """The service's own error message. A retryable one counts as final after several requests in a row."""

    retryable = True


class BadRequestError(ServiceError):
    """The service's word that the request itself is wrong. Final, unless a request like it was answered before."""


class RejectedError(SourceError):
    """A failure that does not change when the request is repeated: a status, an address, a certificate, a proxy."""


class PageError(SourceError):
    """The service answers, but not with a valid page: perhaps because of one record on it."""


class BlockedError(SourceError):
    """arXiv asked for a pause that is too long to wait for."""


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
        """Prepare the lock for a delay of `seconds`. Raises SourceError if the folder cannot be made."""
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
        # By a clock that was set back since, a pause is no longer than it was.
        return max(pause, min(not_before - max(now, at), _MAX_PAUSE))

    def __enter__(self) -> RequestLock:
        """Take the lock and sleep until the request may be sent. Raises BlockedError if that is an hour or more away."""
        self._lock.acquire()
        try:
            wait = self.wait()
            if wait >= _MAX_SLEEP:
                until = datetime.fromtimestamp(time.time() + wait, UTC)
                raise BlockedError(f"arXiv asked to be left alone until {until:%Y-%m-%d %H:%M} UTC; nothing was sent.")
            if wait > 0:
                time.sleep(wait)
            self._write("started", 0.0)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Note the end of the request and release the lock; a time set by `defer` is kept."""
        state, _at, not_before = self._read()
        if state == "started":
            self._write("ended", not_before)
        self._lock.release()

    def defer(self, seconds: float) -> None:
        """Keep every process from sending the next request before so many seconds have passed."""
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
    `progress` is told of the pauses before retries; `contact`, an address of the user's, goes into the User-Agent.
    """

    def __init__(self, validate: Validator, timeout: float = 60.0, progress: Progress | None = None, contact: str = "") -> None:
        """Open the session. Raises SourceError if KB_ARXIV_DELAY or the state folder cannot be used."""
        super().__init__()
        self.headers["User-Agent"] = user_agent(contact)
        self.counts = RequestCounts()
        self._max_attempts = _MAX_ATTEMPTS
        self._answered = False  # whether any request was answered validly
        self._validate = validate
        self._timeout = timeout
        self._progress = progress or NoProgress()
        self._delay = request_delay()
        self._request_lock = RequestLock(state_folder(), self._delay)

    @contextmanager
    def attempts(self, number: int) -> Iterator[None]:
        """Limit the attempts of a request within the block."""
        before, self._max_attempts = self._max_attempts, number
        try:
            yield
        finally:
            self._max_attempts = before

    def get(self, url: str | bytes, **_: object) -> requests.Response:
        """Fetch the valid response to a request, its body read.

        Raises ServiceError for the service's own error message, RejectedError for a failure that does not change,
        BlockedError within a long pause that arXiv asked for, PageError if it answered without a valid page in all
        attempts, and SourceError if it did not answer.
        """
        address = url.decode() if isinstance(url, bytes) else url
        problem = ""
        errors = 0
        throttled = page_fault = False
        for attempt in range(self._max_attempts):
            pause = self._delay * (min(2 ** (attempt - 1), _MAX_BACKOFF) if attempt else 0)
            if attempt:
                self.counts.retries += 1
                reason = problem if problem.endswith("?") else f"{problem}."
                attempts = f"Attempt {attempt + 1} of {self._max_attempts}"
                self._progress.wait(f"arXiv cannot be read: {reason} {attempts}", max(pause, self._request_lock.wait()))
                time.sleep(pause)
            throttled = page_fault = False
            try:
                response = self._follow(address)
                if response.status_code == 200:
                    self._validate(address, response.content)
                    self._answered = True
                    if attempt:
                        self._progress.advance(0)
                    return response
                problem = f"it answered {response.status_code} {response.reason}"
                throttled = response.status_code in _THROTTLE_STATUS
                page_fault = response.status_code in _PAGE_STATUS
                if response.status_code not in _RETRYABLE_STATUS:
                    errors = _MAX_SERVICE_ERRORS
                    self._validate(address, response.content)  # raises what the body says, in the service's own form
                    raise RejectedError(f"{_shown(address)} cannot be read: {problem}.")
            except ServiceError as error:
                errors += 1
                wrong = isinstance(error, BadRequestError) and not self._answered
                if errors >= _MAX_SERVICE_ERRORS or not error.retryable or wrong:
                    raise type(error)(f"{_shown(address)} cannot be read: {error}.") from None
                problem = str(error)
            except InvalidResponseError as error:
                if errors >= _MAX_SERVICE_ERRORS:
                    raise RejectedError(f"{_shown(address)} cannot be read: {problem}.") from None
                problem = str(error)
                page_fault = True
            except (*_MALFORMED, LocationParseError, UnicodeError) as error:
                where = "Check KB_ARXIV_API_URL and KB_ARXIV_OAI_URL."
                raise RejectedError(f"{_shown(address)} is no address that can be asked: {error}. {where}") from None
            except requests.exceptions.ProxyError as error:
                raise RejectedError(f"{_shown(address)} cannot be read: the proxy refuses or is not there ({error}).") from None
            except requests.RequestException as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise RejectedError(
                        f"{_shown(address)} cannot be read: its TLS certificate is not valid ({error})."
                    ) from None
                problem = _reason(error)
        failure = f"{_shown(address)} cannot be read, after {self._max_attempts} attempts: {problem}"
        if throttled:
            raise SourceError(f"{failure}, as arXiv does when it throttles. Leave it alone for an hour.")
        raise (PageError if page_fault else SourceError)(f"{failure}.")

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

        Raises requests.RequestException, and BlockedError if the server asks for a pause of an hour or more.
        """
        wait = self._request_lock.wait()
        if self._delay + 1 < wait < _MAX_SLEEP:
            self._progress.wait("arXiv asked for a pause. The next request goes out", wait)
        with self._request_lock:
            self.counts.requests += 1
            with super().get(address, timeout=self._timeout, stream=True, allow_redirects=False) as response:
                if response.status_code in _RETRYABLE_STATUS and (pause := _retry_after(response)):
                    self._request_lock.defer(pause)
                    if pause >= _MAX_SLEEP:
                        raise BlockedError(
                            f"{_shown(address)} answered {response.status_code} and wants to be left alone for "
                            f"{pause / 3600:.1f} hours. Nothing is sent to arXiv before they are over."
                        )
                response._content = _without_forbidden(read_body(response, _MAX_RESPONSE_BYTES, 5 * self._timeout))
                return response


def user_agent(contact: str = "") -> str:
    """User-Agent of this program: its name and version, the project's address where its metadata has one, the contact."""
    about = metadata("paper-kb")
    address = (about.get_all("Project-URL") or [""])[0].rpartition(" ")[2]
    remarks = [f"+{address}" if address else "", contact]
    return f"paper-kb/{about['Version']}" + (f" ({'; '.join(filter(None, remarks))})" if any(remarks) else "")


def parse_xml(content: bytes) -> etree._Element:
    """Parse a response. Raises InvalidResponseError for a web page and for a cut or damaged document."""
    if re.match(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+)?html", content[:500], re.IGNORECASE):
        raise InvalidResponseError("it answered with a web page")
    try:
        return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise InvalidResponseError(f"it answered with no whole document ({error.msg})") from None


def _without_forbidden(content: bytes) -> bytes:
    """Replace what no XML document may hold, as a title with a form feed or a stray byte does, by a blank."""
    try:
        content.decode()
    except UnicodeDecodeError:
        content = content.decode("utf-8", "replace").encode()
    return _FORBIDDEN.sub(b" ", content)


def _retry_after(response: requests.Response) -> float:
    """Seconds of the Retry-After header, a week at most; 0 without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), _MAX_PAUSE)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()), _MAX_PAUSE)
    except (ValueError, OverflowError):
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
