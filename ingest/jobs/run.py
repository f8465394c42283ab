"""Job runner: each job works in one draft and leaves one record; also the door to status and configuration for the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from ingest.arxiv.api import ArxivApi, category_query
from ingest.arxiv.harvest_api import fetch_ids, fetch_missing, fill_gaps, harvest_query, refresh
from ingest.arxiv.harvest_oai import harvest_set, repair_set
from ingest.arxiv.oai import ArxivOai, set_of
from ingest.arxiv.snapshot import ingest_snapshot
from ingest.code.extract import link_all
from ingest.code.forges import query_forges, store_answers
from ingest.code.papers_with_code import ingest_archive
from ingest.jobs.configuration import Configuration, follow
from ingest.jobs.status import Followed, Overview, Planned, State, overview
from ingest.notes.ingest import forget_notes, ingest_notes
from ingest.report import Report
from kb.cluster import Cluster
from kb.encode.encoder import Encoder
from kb.identifiers import ArxivId
from kb.index.build import EmbeddingReport, build_indexes, embed_missing
from kb.insights.map_layout import update_map
from kb.library import LIBRARY_FILE, Choices
from kb.progress import NoProgress, Progress
from kb.store import Catalogue, Home, NoteMatch, Run

__all__ = [
    "Followed",
    "Overview",
    "Planned",
    "State",
    "follow",
    "overview",
    "run_category",
    "run_code",
    "run_code_archive",
    "run_code_check",
    "run_forget_notes",
    "run_gaps",
    "run_ids",
    "run_index",
    "run_missing",
    "run_notes",
    "run_oai",
    "run_query",
    "run_refresh",
    "run_snapshot",
]


def run_notes(home: Home, paths: Sequence[Path], progress: Progress | None = None) -> Report:
    """Ingest Markdown notes from files and folders. Raises SourceError, BusyError."""
    return _run(home, "notes", lambda catalogue: ingest_notes(catalogue, paths, progress or NoProgress()))


def run_forget_notes(home: Home, paths: Sequence[Path], progress: Progress | None = None) -> Report:
    """Take away the notes that these files and folders brought."""
    return _run(home, "forget notes", lambda catalogue: forget_notes(catalogue, paths, progress or NoProgress()), redraw=True)


def run_snapshot(
    home: Home,
    paths: Sequence[Path],
    categories: Sequence[str] = (),
    limit: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Ingest arXiv metadata from JSON lines. Raises SourceError, BusyError."""
    return _run(
        home, "snapshot", lambda catalogue: ingest_snapshot(catalogue, paths, progress or NoProgress(), categories, limit)
    )


def run_category(home: Home, category: str, since: date | None = None, progress: Progress | None = None) -> Report:
    """Harvest the papers of a category or archive submitted since the last run, by the API. Raises QueryError, BusyError."""
    return harvest_query(home, _api(home, progress), category_query(category), category, since, progress or NoProgress())


def run_query(home: Home, query: str, since: date | None = None, progress: Progress | None = None) -> Report:
    """Harvest the papers of a query in the API's syntax submitted since the last run. Raises BusyError."""
    return harvest_query(home, _api(home, progress), query, "", since, progress or NoProgress())


def run_gaps(home: Home, category: str, since: date | None = None, progress: Progress | None = None) -> Report:
    """Fetch by the API the days of a category on which papers are missing. Raises QueryError, BusyError."""
    return fill_gaps(home, _api(home, progress), category, since, progress or NoProgress())


def run_refresh(home: Home, category: str, since: date | None = None, progress: Progress | None = None) -> Report:
    """Fetch by the API all stored papers of a category anew, or those submitted since a day. Raises QueryError, BusyError."""
    return refresh(home, _api(home, progress), category, since, progress or NoProgress())


def run_ids(home: Home, identifiers: Sequence[ArxivId], progress: Progress | None = None) -> Report:
    """Fetch papers by id, by the API. Raises BusyError."""
    return fetch_ids(home, _api(home, progress), identifiers, progress or NoProgress())


def run_missing(home: Home, progress: Progress | None = None) -> Report:
    """Fetch the metadata of papers that only notes mention, by the API. Raises BusyError."""
    return fetch_missing(home, _api(home, progress), progress or NoProgress())


def run_oai(home: Home, name: str, since: date | None = None, repair: bool = False, progress: Progress | None = None) -> Report:
    """Harvest by OAI-PMH what changed in a set or category since the last run; with `repair`, all that is missing.

    Raises QueryError, BusyError.
    """
    work = repair_set if repair else harvest_set
    return work(
        home, ArxivOai(progress=progress, contact=Configuration.of(home).contact), set_of(name), since, progress or NoProgress()
    )


def run_code_archive(home: Home, path: Path, progress: Progress | None = None) -> Report:
    """Ingest the Papers-with-Code archive of links. Raises SourceError, BusyError."""
    return _run(home, "code archive", lambda catalogue: ingest_archive(catalogue, path, progress or NoProgress()))


def run_code_check(home: Home, limit: int, progress: Progress | None = None) -> Report:
    """Look up `limit` papers at Hugging Face and repositories at GitHub; other jobs can run meanwhile. Raises BusyError."""
    answers = query_forges(home, limit, progress or NoProgress())
    return _run(home, "code check", lambda catalogue: store_answers(catalogue, answers))


def run_code(home: Home) -> Report:
    """Extract the code links of all stored papers anew. Raises BusyError."""

    def link(catalogue: Catalogue) -> Report:
        report = Report(source="what is stored")
        report.count("code links", link_all(catalogue))
        catalogue.notes.settle()
        return report

    return _run(home, "code", link)


def run_index(home: Home, encoder: Encoder, progress: Progress | None = None, cluster: Cluster | None = None) -> EmbeddingReport:
    """Embed new texts (on the cluster if one is given), publish indexes and map, and match untitled notes.

    Raises ModelError, ClusterError, BusyError.
    """
    embedding = _index(home, encoder, progress, cluster)
    if not _match_notes(home, encoder):
        return embedding
    # A paper that only notes tell of reads otherwise with the notes that found it.
    again = _index(home, encoder, progress, cluster)
    return EmbeddingReport(embedding.embedded + again.embedded, embedding.already_embedded)


def _index(home: Home, encoder: Encoder, progress: Progress | None, cluster: Cluster | None) -> EmbeddingReport:
    started = _now()
    embedding = embed_missing(home, encoder, progress, cluster)
    # Embedding takes minutes, and another job may be publishing just now: its turn is over in seconds.
    with home.draft(wait=600) as draft:
        build_indexes(draft, encoder)
        update_map(draft, progress)
        counts = {"embedded": embedding.embedded, "known": embedding.already_embedded}
        draft.catalogue.record_run(Run("index", encoder.model_id, started, _now(), "done", counts), [])
        draft.publish()
    return embedding


def run_match(home: Home, note_id: str, identifier: str) -> None:
    """Record the user's choice of the paper that an untitled note is about; an empty id refuses those offered.

    Raises BusyError.
    """
    Choices(home.path / LIBRARY_FILE).match(note_id, identifier)
    word = NoteMatch(note_id, identifier, 1.0, "accepted" if identifier else "refused")

    def follow(catalogue: Catalogue) -> Report:
        notes = catalogue.notes
        notes.keep_matches([*(match for match in notes.matches() if match.note_id != note_id), word])
        catalogue.notes.settle()
        return Report(source=note_id)

    _run(home, "match", follow, redraw=True)


def _match_notes(home: Home, encoder: Encoder) -> bool:
    """Match untitled notes with indexed papers; publishes and returns True if a match changed."""
    from kb.search.note_matching import match_notes  # the search and its indexes, which most jobs do without
    from kb.search.searcher import Searcher

    generation = home.open()
    try:
        before = generation.catalogue.notes.matches()
        if not before and not generation.catalogue.notes.untitled():
            return False
    finally:
        generation.close()
    with Searcher.open(home, encoder) as searcher:
        found = match_notes(searcher, Choices(home.path / LIBRARY_FILE).matches())
    if _outcome(found) == _outcome(before):
        return False

    def keep(catalogue: Catalogue) -> Report:
        report = Report(source="notes without a title")
        catalogue.notes.keep_matches(found)
        catalogue.notes.settle()
        for status in ("made", "offered", "accepted", "refused"):
            report.count(status, len({match.note_id for match in found if match.status == status}))
        return report

    _run(home, "match", keep, wait=600, redraw=True)
    return True


def _outcome(matches: Sequence[NoteMatch]) -> set[tuple[str, str, str]]:
    """Matches without their confidence, which moves a little with every new paper."""
    return {(match.note_id, match.paper_id, match.status) for match in matches}


def _run(home: Home, job: str, work: Callable[[Catalogue], Report], wait: float = 0.0, redraw: bool = False) -> Report:
    """Run a job on a draft and publish it with the record of the run; `redraw` updates the map, where papers may leave it.

    An error leaves the catalogue as it was and is passed on. Raises BusyError if the draft is not free within `wait` seconds.
    """
    started = _now()
    with home.draft(wait) as draft:
        report = work(draft.catalogue)
        outcome = "done" if report.complete else "partial"
        draft.catalogue.record_run(Run(job, report.source, started, _now(), outcome, report.counts), report.skipped)
        build_indexes(draft)
        if redraw:
            update_map(draft)
        draft.publish()
    return report


def _api(home: Home, progress: Progress | None) -> ArxivApi:
    """Client of the API with the user's contact. Raises StoreError if the configuration file is wrong."""
    return ArxivApi(progress=progress, contact=Configuration.of(home).contact)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
