"""The far side of the network: one polite way to ask arXiv, shared by every job and process of this user.

arXiv asks for one request in three seconds and one connection at a time, over its API and OAI-PMH together. A file
lock, held from before a request until its answer is read, sees to both; what the lock file says of the last request
tells the next holder how long to wait. What goes wrong is tried again, each time after a longer pause.
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
_ATTEMPTS = 8
_CEILING = 100  # pauses between attempts grow to so many times the delay: five minutes for arXiv
_LONGEST_WAIT = 3600.0  # seconds; a server that asks for more is to be asked another time
_LARGEST_ANSWER = 256 << 20  # bytes; a page of 3,500 records is some 10 MB
_REDIRECTS = 3
_REFUSALS = 3  # error messages in a row that count as an answer
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnsoundError(Exception):
    """An answer that is not what was asked for, and may be after another request: HTML, a cut feed, a short page."""


class SaidNoError(UnsoundError, SourceError):
    """The service's own error message. Where it may be a passing one, several requests in a row make it an answer."""

    may_pass = True


class RefusedError(SourceError):
    """A status that says no, which asking again does not change."""


Check = Callable[[str, bytes], None]


def delay() -> float:
    """Seconds between two requests, from KB_ARXIV_DELAY; raises SourceError where that is no number."""
    text = os.environ.get("KB_ARXIV_DELAY", "")
    try:
        seconds = float(text) if text else _DELAY
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SourceError(f"KB_ARXIV_DELAY is {text!r}; it is the pause between two requests in seconds, such as 3.")
    return seconds


def state_folder() -> Path:
    """Where processes of this user meet; KB_STATE_DIR puts it elsewhere."""
    return Path(os.environ.get("KB_STATE_DIR") or user_state_path("paper-kb"))


@dataclass(slots=True)
class Traffic:
    """What a job has asked of the far side."""

    requests: int = 0
    retries: int = 0


class Turn:
    """The right to send a request, held by one process of this user at a time.

    The file beside the lock tells of the last request: `started` before it, `ended` after it, each with the time, and how
    long the server wants to be left alone. A holder that finds `started` follows one that was killed, and waits in full.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{folder} cannot be written: {error.strerror}. Set KB_STATE_DIR to another folder.") from error
        self._lock = FileLock(folder / "arxiv.lock")
        self._note = folder / "arxiv.last"
        self._delay = seconds

    def wait(self) -> float:
        """Seconds until a request may be sent."""
        state, at, leave_alone = self._read()
        now = time.time()
        pause = self._delay if state == "started" else max(0.0, min(at + self._delay - now, self._delay))
        return max(pause, min(leave_alone - now, _LONGEST_WAIT))

    def __enter__(self) -> Turn:
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
        # The request is over; only how long to leave the server alone may have been added to the note.
        state, _at, leave_alone = self._read()
        if state == "started":
            self._write("ended", leave_alone)
        self._lock.release()

    def leave_alone(self, seconds: float) -> None:
        """Nobody asks again before so many seconds are over."""
        self._write("started", time.time() + seconds)

    def _read(self) -> tuple[str, float, float]:
        try:
            state, at, leave_alone = self._note.read_text(encoding="utf-8").split()
            return state, float(at), float(leave_alone)
        except FileNotFoundError:
            return "ended", 0.0, 0.0
        except ValueError:  # cut by a full disk or a killed writer: as after a killed request
            return "started", 0.0, 0.0

    def _write(self, state: str, leave_alone: float) -> None:
        self._note.write_text(f"{state} {time.time():.6f} {leave_alone:.6f}\n", encoding="utf-8")


class FarSide(requests.Session):
    """A session whose every `get` waits its turn, has time-outs, and tries again what may pass.

    `timeout` is in seconds: for the connection, for a silence in the answer, and five times that for a whole answer.
    `progress` is told of the pauses before it tries again.
    """

    def __init__(self, check: Check, timeout: float = 60.0, progress: Progress | None = None) -> None:
        super().__init__()
        self.headers["User-Agent"] = f"paper-kb/{version('paper-kb')}"
        self.traffic = Traffic()
        self._check = check
        self._timeout = timeout
        self._progress = progress or NoProgress()
        self._delay = delay()
        self._turn = Turn(state_folder(), self._delay)

    def get(self, url: str | bytes, **_: object) -> requests.Response:
        """The sound answer to a request, its body read.

        Raises SaidNoError for the service's own no, RefusedError for a status that asking again does not change, and
        SourceError where the far side stays out of reach or unsound.
        """
        address = url.decode() if isinstance(url, bytes) else url
        problem = ""
        refusals = 0
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.traffic.retries += 1
                pause = min(2 ** (attempt - 1), _CEILING) * self._delay
                reason = problem if problem.endswith("?") else f"{problem}."
                attempts = f"Attempt {attempt + 1} of {_ATTEMPTS}"
                self._progress.wait(f"arXiv cannot be read: {reason} {attempts}", max(pause, self._turn.wait()))
                time.sleep(pause)
            try:
                response = self._follow(address)
                if response.status_code == 200:
                    self._check(address, response.content)
                    if attempt:
                        self._progress.advance(0)
                    return response
                problem = f"it answered {response.status_code} {response.reason}"
                if response.status_code not in _PASSING:
                    refusals = _REFUSALS
                    self._check(address, response.content)  # raises what the body says, in the service's own form
                    raise RefusedError(f"{_shown(address)} cannot be read: {problem}.")
            except SaidNoError as error:
                refusals += 1
                if refusals >= _REFUSALS or not error.may_pass:
                    raise type(error)(f"{_shown(address)} cannot be read: {error}.") from None
                problem = str(error)
            except UnsoundError as error:
                if refusals >= _REFUSALS:
                    raise RefusedError(f"{_shown(address)} cannot be read: {problem}.") from None
                problem = str(error)
            except requests.RequestException as error:
                problem = _reason(error)
        raise SourceError(f"{_shown(address)} cannot be read, after {_ATTEMPTS} attempts: {problem}.")

    def _follow(self, address: str) -> requests.Response:
        """The answer to one request, and to those that it sends on to, each in its turn."""
        for _ in range(_REDIRECTS + 1):
            response = self._ask(address)
            if not response.is_redirect:
                return response
            address = urljoin(address, response.headers["Location"])
            if urlsplit(address).scheme not in {"http", "https"}:
                break
        raise requests.TooManyRedirects("it sends on without end")

    def _ask(self, address: str) -> requests.Response:
        with self._turn:
            self.traffic.requests += 1
            with super().get(address, timeout=self._timeout, stream=True, allow_redirects=False) as response:
                deadline = time.monotonic() + 5 * self._timeout
                body = bytearray()
                for piece in response.iter_content(1 << 16):
                    body += piece
                    if time.monotonic() > deadline:
                        raise requests.ReadTimeout("the answer takes too long")
                    if len(body) > _LARGEST_ANSWER:
                        raise requests.ConnectionError("the answer does not end")
                response._content = bytes(body)
                if response.status_code in _PASSING and (wait := _retry_after(response)):
                    if wait > _LONGEST_WAIT:
                        raise SourceError(
                            f"{_shown(address)} answered {response.status_code} and wants to be left alone for "
                            f"{wait / 3600:.0f} hours."
                        )
                    self._turn.leave_alone(wait)
                return response


def parse_xml(content: bytes) -> etree._Element:
    """The document of an answer; raises UnsoundError for a web page and for a document that is cut or damaged."""
    if re.match(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+)?html", content[:500], re.IGNORECASE):
        raise UnsoundError("it answered with a web page")
    try:
        return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise UnsoundError(f"it answered with no whole document ({error.msg})") from None


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server wants to be left alone; 0 where it does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _reason(error: requests.RequestException) -> str:
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
    """An address short enough for a message."""
    return address if len(address) <= 160 else address[:160] + "…"
