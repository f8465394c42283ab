"""What the methods of `KnowledgeBase` return, where no other module defines it; `as_json` is what `--json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kb.identifiers import paper_url

if TYPE_CHECKING:
    from ingest.arxiv.coverage import Coverage
    from ingest.report import Report
    from kb.doctor import Finding
    from kb.library import ReadingList
    from kb.library.recommend import Recommendation
    from kb.models.marge.quality import Comparison
    from kb.papers import CodeLink, Skipped
    from kb.search.evaluate import Interval
    from kb.search.explain import Explanation
    from kb.search.searcher import Hit
    from kb.store import History, Manifest, NoteMatch, Run, TitleOrigin, UntitledNote


_TITLE_SOURCES = {
    "bibliography": "a bibliography",
    "metadata": "front matter or a label",
    "heading": "a note's heading",
    "item": "an item of a list",
    "link": "the words of a link",
    "file": "the file's name",
    "arxiv": "arXiv's metadata",
}


@dataclass(frozen=True, slots=True)
class PaperDetails:
    """Everything known of one paper."""

    hit: Hit
    """The paper with its code and notes."""
    history: History
    """Versions, changed titles and abstracts, withdrawals."""
    mentioned: tuple[CodeLink, ...]
    """Repositories that its texts mention without being its code."""
    project_page: str
    """Address; empty if none is known."""
    explained_by: tuple[Explanation, ...]
    """The papers that explain it best, the best first."""
    title_origin: TitleOrigin | None = None
    """The note that gives the title, where only notes tell of the paper."""

    @property
    def title_source(self) -> str:
        """Where the title comes from, in words."""
        if self.title_origin is None or not self.title_origin.title_source:
            return "arXiv's metadata" if self.hit.paper.origin == "arxiv" else "a note"
        return f"{_TITLE_SOURCES[self.title_origin.title_source]}, {self.title_origin.source}:{self.title_origin.line}"

    def as_json(self) -> dict[str, Any]:
        """The paper as `kb show --json` prints it."""
        paper, hit = self.hit.paper, self.hit.as_json()
        return {key: hit[key] for key in ("id", "title", "authors", "year", "url", "code", "notes")} | {
            "abstract": paper.abstract,
            "categories": paper.categories,
            "published": paper.published and paper.published.isoformat(),
            "updated": paper.updated and paper.updated.isoformat(),
            "title_source": self.title_source,
            "doi": paper.doi,
            "comments": paper.comments,
            "journal_ref": paper.journal_ref,
            "withdrawn": paper.withdrawn,
            "versions": [{"version": v.number, "created": v.created and v.created.isoformat()} for v in paper.versions],
            "changes": [asdict(change) for change in self.history.changes],
            "withdrawals": [asdict(w) | {"noticed": w.noticed and w.noticed.isoformat()} for w in self.history.withdrawals],
            "code": [_code_as_json(link) for link in self.hit.code],
            "mentioned": [_code_as_json(link) for link in self.mentioned],
            "project_page": self.project_page,
            "explained_by": [
                {"id": e.paper.id, "title": e.paper.title, "weight": round(e.weight, 4), "sentence": e.sentence}
                for e in self.explained_by
            ],
        }


def _code_as_json(link: CodeLink) -> dict[str, Any]:
    return asdict(link) | {"checked": link.checked and link.checked.isoformat()}


@dataclass(frozen=True, slots=True)
class Status:
    """What the knowledge base holds, and what the last jobs did."""

    manifest: Manifest
    runs: tuple[Run, ...]
    """The newest first, 20 at most."""
    notes_to_match: int
    """Notes without a title that may be about papers here; `match` lists them."""

    def as_json(self) -> dict[str, Any]:
        """The status as `kb status --json` prints it."""
        runs = [
            {
                "job": run.job,
                "source": run.source,
                "started": run.started.isoformat(),
                "finished": run.finished.isoformat(),
                "outcome": run.outcome,
                "counts": run.counts,
                "message": run.message,
                "window": run.span,
                "requests": run.requests,
                "retries": run.retries,
            }
            for run in self.runs
        ]
        counts = {name: getattr(self.manifest, name) for name in ("papers", "notes", "code_links", "embedded", "generation")}
        return counts | {"model": self.manifest.model_id, "runs": runs}


@dataclass(frozen=True, slots=True)
class PossiblePaper:
    """A paper that an untitled note may be about."""

    match: NoteMatch
    title: str
    """Empty if the user said that the note is about none of the papers offered."""


@dataclass(frozen=True, slots=True)
class UntitledNoteMatches:
    """A note without a title, and the papers that it may be about."""

    note: UntitledNote
    papers: tuple[PossiblePaper, ...]
    """The surest first; empty if no paper here is like the note."""

    def as_json(self) -> dict[str, Any]:
        """The note as `kb match --json` prints it."""
        return {
            "id": self.note.id,
            "source": self.note.source,
            "line": self.note.line,
            "authors": self.note.authors,
            "text": self.note.text,
            "matches": [
                {
                    "id": paper.match.paper_id,
                    "title": paper.title,
                    "confidence": paper.match.confidence,
                    "standing": paper.match.status,
                }
                for paper in self.papers
            ],
        }


@dataclass(frozen=True, slots=True)
class ListAddition:
    """What adding papers to a reading list did."""

    added: int
    already: int
    """Papers that were on the list before."""
    untitled: tuple[str, ...] = ()
    """Ids of papers that the knowledge base does not know: they are on the list without a title."""
    skipped: tuple[Skipped, ...] = ()
    """Entries of an imported file that could not be read."""
    notices: tuple[str, ...] = ()
    """What was mended, merged, renamed or left out of an imported file, key by key."""

    def as_json(self) -> dict[str, Any]:
        """The addition as `kb list import --json` prints it."""
        skipped = _skipped_as_json(self.skipped)
        return {"added": self.added, "already": self.already, "skipped": skipped, "notices": list(self.notices)}


@dataclass(frozen=True, slots=True)
class ListRemoval:
    """What removing papers from a reading list did."""

    removed: int
    missing: int
    """Papers that were not on the list."""


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """A job of `config.toml` and its times."""

    run: str
    """The command, without `kb`."""
    next_run: datetime
    """Local time, with zone."""
    last_start: str
    """ISO 8601, UTC; empty if it has not run yet."""
    outcome: str
    """How it ended last, in words."""

    def as_json(self) -> dict[str, str]:
        """The job as `kb schedule show --json` prints it."""
        return {
            "run": self.run,
            "next": self.next_run.isoformat(timespec="minutes"),
            "last_start": self.last_start,
            "outcome": self.outcome,
        }


@dataclass(frozen=True, slots=True)
class Examination:
    """What `doctor` found."""

    findings: tuple[Finding, ...]
    repaired: tuple[str, ...]
    """What was repaired, a sentence each."""
    coverage: Coverage | None
    """Days without papers; `None` if there are faults, or no knowledge base yet."""

    @property
    def has_faults(self) -> bool:
        """True if something is broken, rather than merely missing."""
        return any(finding.is_fault for finding in self.findings)

    @property
    def sound(self) -> bool:
        """True if nothing is broken and no day lacks papers."""
        return not self.has_faults and (self.coverage is None or self.coverage.complete)

    def as_json(self) -> dict[str, Any]:
        """The examination as `kb doctor --json` prints it."""
        findings = [
            {"part": f.part.value, "place": f.place, "problem": f.problem, "remedy": f.remedy, "fault": f.is_fault}
            for f in self.findings
        ]
        coverage = self.coverage.as_json() if self.coverage else {}
        return {"findings": findings, "repaired": list(self.repaired)} | coverage


@dataclass(frozen=True, slots=True)
class RankerTraining:
    """What training the ranker did."""

    queries: int
    """Papers of reading lists, each of which was to be found."""
    before: float
    """Mean reciprocal rank of the held-out half with the weights in use."""
    after: float
    """The same with the new weights."""
    gain: Interval
    """Their difference, with its 95 % interval."""
    installed: bool
    """True if the new weights are in use from now on."""

    def as_json(self) -> dict[str, Any]:
        """The result in the form that `kb train ranker --json` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MargeTraining:
    """What training a MARGE model gave."""

    comparison: Comparison
    """The model's quality beside that of the models there were."""
    installed: Path | None
    """The folder it was installed in; `None` if it was not better."""
    work: Path
    """The folder with the log of the training."""
    log: list[dict[str, float]]

    def as_json(self) -> dict[str, Any]:
        """The result as `kb train marge --json` prints it."""
        found = self.comparison
        return {
            "mix": found.mix,
            "before": found.baseline_quality,
            "best before": found.baseline,
            "after": found.quality,
            "installed": found.better,
            "log": self.log,
        }


def report_as_json(report: Report) -> dict[str, Any]:
    """What an ingest did, as `kb ingest … --json` prints it."""
    papers = [{"id": identifier, "title": title} for identifier, title in report.new_papers]
    shown = {"papers": papers, "left_out": _skipped_as_json(report.left_out)}
    facts = {name: getattr(report, name) for name in ("requests", "retries", "message", "failure")}
    return {"source": report.source, "counts": report.counts, "skipped": _skipped_as_json(report.skipped)} | shown | facts


def _skipped_as_json(skipped: list[Skipped] | tuple[Skipped, ...]) -> list[dict[str, Any]]:
    return [{"source": item.source, "line": item.line, "reason": item.reason} for item in skipped]


def list_as_json(found: ReadingList) -> dict[str, Any]:
    """A reading list, as `kb list show --json` prints it."""
    return {
        "name": found.name,
        "created": found.created.isoformat(),
        "papers": [
            {
                "id": entry.paper_id,
                "title": entry.title,
                "authors": [author.name for author in entry.authors],
                "year": entry.year,
                "url": paper_url(entry.paper_id),
                "remark": entry.remark,
                "tags": list(entry.tags),
                "added": entry.added and entry.added.isoformat(),
                "read": entry.read and entry.read.isoformat(),
            }
            for entry in found.entries
        ],
    }


def recommendation_as_json(answer: Recommendation) -> dict[str, Any]:
    """A recommended paper, as `kb recommend --json` prints it."""
    return answer.hit.as_json() | {"reason": answer.reason, "close_to": [paper.id for paper in answer.close_to]}
