"""Search latency while a job publishes, with eight threads of one process as in the app, beside the latency without a job.

    python -m bench.serving KB_HOME SNAPSHOT

The job is `kb ingest snapshot`, five times, started as the app starts it. It is stopped and continued every few seconds, so that
both figures are measured under the same load of the machine. Each import gives the same papers a new abstract, with a word that
tells its edition, and adds papers. Answers are checked: one that mixed generations would hold papers of two editions, or a score
that does not fit the text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from app import resources
from bench.material import copied, records
from bench.rows import Row, table
from kb.encode.encoder import Vectors
from kb.encode.vector_store import VectorStore, digests
from kb.jobs.background import Background
from kb.models.registry import load_encoder
from kb.search.searcher import Hit

CLIENTS = 8
_IMPORTS = 5
_CHANGED, _NEW = 100, 200  # papers of an import
_TURN = 5.0  # seconds that the job runs, and is then stopped
# One word an edition.
_WORDS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh".split()
_QUESTIONS = (
    "detecting hallucinations of language models",
    "speculative decoding to speed up inference",
    "graph neural networks for traffic forecasting",
    "low-resource speech recognition",
    "pruning vision transformers",
    "fine-tune a large model on one GPU",
    "image segmentation from few annotations",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one search of a client."""

    question: str
    generation: str
    started: float
    seconds: float
    hits: list[Hit]


def questions() -> list[str]:
    """Queries with the words of all editions, so that the changed papers are among the results."""
    return [" ".join([text, *_WORDS]) for text in _QUESTIONS]


def edition(records: Sequence[dict[str, Any]], number: int, new: int) -> Iterator[dict[str, Any]]:
    """These records with the abstracts of others, and `new` additional records."""
    for row in range(len(records) + new):
        record, other = records[row % len(records)], records[(row + 7 * number + 7) % len(records)]
        abstract = f"This is the {_WORDS[number]} edition, entry {row}. {other['abstract']}"
        identifier = record["id"] if row < len(records) else f"20{number + 1:02d}.{row + 10_000:05d}"
        yield record | {"id": identifier, "abstract": abstract}


def ask(texts: Sequence[str], going: Callable[[], bool], pause: float = 0.0) -> list[Answer]:
    """Run the clients, each searching with `pause` seconds between two searches, for as long as `going` is true.

    Raises the error of a search that fails.
    """
    stopped = threading.Event()

    def client(number: int) -> list[Answer]:
        answers = []
        for text in itertools.islice(itertools.cycle(texts), number, None):
            if stopped.wait(pause):
                break
            started = time.perf_counter()
            with resources.searcher() as searcher:
                hits = searcher.search(text)
                answers.append(Answer(text, searcher.generation.name, started, time.perf_counter() - started, hits))
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            clients = [pool.submit(client, number) for number in range(CLIENTS)]
            while going() and not any(each.done() for each in clients):
                time.sleep(0.1)
        finally:
            stopped.set()
    return [answer for each in clients for answer in each.result()]


def fault(answer: Answer, queries: Mapping[str, Vectors], store: VectorStore, changing: Collection[str]) -> str:
    """How an answer mixes generations; '' if it does not.

    All changing papers must be of one edition, each cosine must be that of the text shown, and papers with a word of the query
    must have a lexical score.
    """
    papers = [hit.paper for hit in answer.hits]
    editions = {word for paper in papers for word in _WORDS if paper.id in changing and f"the {word} edition" in paper.abstract}
    if len(editions) > 1:
        return f"papers of the editions {sorted(editions)}"
    for hit in answer.hits:
        if not hit.scores:  # a known item that is no candidate
            continue
        text = f"{hit.paper.title}\x1f{hit.paper.abstract}"
        position = store.find(digests([hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()]))
        if position[0] < 0:
            return f"{hit.paper.id} has a text that was never embedded"
        cosine = float((store.take(position) @ queries[answer.question])[0])
        if abs(cosine - hit.scores["dense"]) > 1e-3:
            return f"{hit.paper.id} has the cosine {hit.scores['dense']:.4f}; that of its text is {cosine:.4f}"
        if " edition, entry " in hit.paper.abstract and not hit.scores["lexical"]:
            return f"{hit.paper.id} has words of the query, of which the lexical index knows nothing"
    return ""


def measure(home: Path, snapshot: Path) -> list[Row]:
    """Benchmark over a copy of an indexed knowledge base, to which records of a snapshot file (.zst) are added."""
    known = list(itertools.islice(records(snapshot), _CHANGED))
    encoder = load_encoder()
    queries = {text: encoder.encode([text])[0] for text in questions()}
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        place = copied(home, Path(folder))
        os.environ["KB_HOME"] = str(place.path)
        imports = []
        for number in range(len(_WORDS)):
            path = Path(folder) / f"{number}.jsonl"
            path.write_text("".join(json.dumps(record) + "\n" for record in edition(known, number, _NEW)), encoding="utf-8")
            imports.append(["ingest", "snapshot", str(path)])
        job = Background(place)
        job.start("Before", [imports.pop()])
        while job.running():
            time.sleep(0.1)
        for text in questions():  # loads the model and fills the file cache
            with resources.searcher() as searcher:
                searcher.search(text)
        rows = []
        for what, pause in (("one question after the other", 0.0), ("a second between two questions", 1.0)):
            job.start("Imports", [imports.pop() for _ in range(_IMPORTS)])
            turns = _Turns(job)
            try:
                answers = ask(questions(), turns.going, pause)
            finally:
                turns.end()
            quiet, busy = turns.split(answers)
            if (last := job.last()) is None or last.exit_code:
                raise SystemExit(f"The imports failed: {job.log()}")
            store = VectorStore.for_encoder(place.vectors, encoder)
            changing = {f"arxiv:{record['id']}" for record in known}
            mixed = [found for answer in answers if (found := fault(answer, queries, store, changing))]
            ours, peer = (median(answer.seconds for answer in some) for some in (busy, quiet))
            rows.append(
                Row(
                    f"a search of {CLIENTS} clients, {what}, while {_IMPORTS} imports of {_CHANGED + _NEW:,} papers publish "
                    f"({len(answers):,} searches in {_TURN * turns.count:.0f} s, none failed, {len(mixed)} of mixed generations, "
                    f"of {len({answer.generation for answer in answers})} that were seen)",
                    f"{ours * 1e3:.0f} ms",
                    f"the same while the job stands still: {peer * 1e3:.0f} ms",
                    f"{ours / peer:.2f} × its time",
                    "at most 1.5 ×",
                )
            )
    return rows


class _Turns:
    """Runs a job and stops it by turns."""

    def __init__(self, job: Background) -> None:
        self._job = job
        self._changes = [time.perf_counter()]
        last = job.last()
        assert last is not None  # it was started
        self._process = last.process

    @property
    def count(self) -> int:
        """Number of turns so far."""
        return len(self._changes)

    def going(self) -> bool:
        """True until the job has ended. Stops or continues it when a turn is over."""
        if not self._job.running():
            return False
        if time.perf_counter() - self._changes[-1] > _TURN:
            os.killpg(self._process, signal.SIGSTOP if self.count % 2 else signal.SIGCONT)
            self._changes.append(time.perf_counter())
        return True

    def end(self) -> None:
        """Continue the job, if it is stopped."""
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGCONT)

    def split(self, answers: Sequence[Answer]) -> tuple[list[Answer], list[Answer]]:
        """Answers of turns in which the job was stopped, and in which it ran; without answers that span two turns."""
        turns = [np.searchsorted(self._changes, (each.started, each.started + each.seconds)) for each in answers]
        whole = [(int(first), each) for (first, last), each in zip(turns, answers, strict=True) if first == last]
        return [each for turn, each in whole if turn % 2 == 0], [each for turn, each in whole if turn % 2]


if __name__ == "__main__":
    sys.stdout.write(table(measure(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")
