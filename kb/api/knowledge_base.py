"""The facade: one knowledge base, a method for every command of `kb`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from kb.api.results import (
    Examination,
    ListAddition,
    ListRemoval,
    MargeTraining,
    PaperDetails,
    PossiblePaper,
    RankerTraining,
    ScheduledJob,
    Status,
    UntitledNoteMatches,
)
from kb.errors import QueryError, StoreError
from kb.identifiers import ArxivId, paper_id
from kb.library import LIBRARY_FILE, Choices, Entry, Library, ListSummary, ReadingList, resolve_entries
from kb.progress import NoProgress, Progress
from kb.store import Catalogue, CodeCatalogue, Filters, Generation, Home, Ledger, parse_years

if TYPE_CHECKING:
    from ingest.jobs.configuration import Job
    from ingest.report import Report
    from kb.formats.read import Bibliography
    from kb.index.build import EmbeddingReport
    from kb.insights.digest import Digest
    from kb.library.backup import Restoration
    from kb.library.recommend import Recommendation
    from kb.search.evaluate import Evaluation
    from kb.search.passages import Passage
    from kb.search.query_syntax import ParsedQuery, Sort
    from kb.search.searcher import Hit, Searcher
    from kb.text.facets import Facet

DEFAULT_HOME = "data/kb"
_PathLike = str | os.PathLike[str]


class KnowledgeBase:
    """One knowledge base, in a folder.

    The indexes are opened by the first search and stay open until `close`; a search after a job sees what the job published.
    Threads may share an instance: it answers one search at a time. In a `with` statement it is closed at the end.

    >>> import kb
    >>> with kb.KnowledgeBase(folder) as base:
    ...     [hit.paper.title for hit in base.search("residual connections in very deep networks", k=1)]
    ['Deep Residual Learning for Image Recognition']

    All methods raise `kb.errors.StoreError` if there is no knowledge base to read, or its files are damaged, and
    `kb.errors.BusyError` if another job is writing to it.
    """

    def __init__(self, home: _PathLike | None = None, *, progress: Progress | None = None) -> None:
        """Open nothing yet: the first ingest makes the folder.

        Args:
            home: The folder; without one, that of the variable `KB_HOME`, else `data/kb`.
            progress: What long methods report to.
        """
        self._home = Home(Path(home or os.environ.get("KB_HOME") or DEFAULT_HOME))
        self._progress = progress or NoProgress()
        self._searcher: Searcher | None = None
        self._lock = threading.RLock()

    @property
    def path(self) -> Path:
        """The folder of the knowledge base."""
        return self._home.path

    def exists(self) -> bool:
        """True if anything has been ingested into the folder."""
        return self._home.exists()

    def close(self) -> None:
        """Close the indexes; the next search opens them again."""
        with self._lock:
            if self._searcher is not None:
                self._searcher.close()
                self._searcher = None

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Ingesting ------------------------------------------------------------------------------------------------------

    def ingest_notes(self, paths: _PathLike | Sequence[_PathLike], *, index: bool = True) -> Report:
        """Ingest Markdown bookmarks, reading lists, newsletters and digests: files, or folders of them.

        `index=False` leaves embedding to a later `index()`. What could not be read is in the report's `skipped`.

        >>> report = base.ingest_notes(folder_of_notes)
        >>> report.counts["new"], report.skipped
        (1, [])

        Raises:
            SourceError: A path cannot be read at all.
        """
        from ingest.jobs.run import run_notes

        return self._finish(run_notes(self._home, _paths(paths), self._progress), index)

    def forget_notes(self, paths: _PathLike | Sequence[_PathLike], *, index: bool = True) -> Report:
        """Take away the notes that files or folders brought, whether or not they still exist.

        Raises:
            SourceError: No notes came from a path.
        """
        from ingest.jobs.run import run_forget_notes

        return self._finish(run_forget_notes(self._home, _paths(paths), self._progress), index)

    def ingest_snapshot(
        self,
        paths: _PathLike | Sequence[_PathLike],
        *,
        categories: Sequence[str] = (),
        limit: int | None = None,
        index: bool = True,
    ) -> Report:
        """Ingest arXiv metadata in the form of its public snapshot: JSON lines, plain, .gz or .zst.

        `categories` takes only papers of these, `limit` only so many records.

        Raises:
            SourceError: A file cannot be read at all.
        """
        from ingest.jobs.run import run_snapshot

        return self._finish(run_snapshot(self._home, _paths(paths), categories, limit, self._progress), index)

    def ingest_arxiv(
        self,
        *,
        categories: Sequence[str] = (),
        query: str = "",
        ids: Sequence[str] = (),
        missing: bool = False,
        since: date | None = None,
        repair: bool = False,
        refresh: bool = False,
        index: bool = True,
    ) -> Report:
        """Ingest from arXiv's API what was submitted since the last time, to categories or for a query; or papers by id.

        Without a choice, the categories of `config.toml` are taken.

        Args:
            categories: Such as `cs.CL`.
            query: In the API's own syntax.
            ids: Ids or addresses of papers.
            missing: Fetch the papers that only notes tell of.
            since: The first time, nothing older than this day.
            repair: Fetch days again that `doctor` reports as missing.
            refresh: Fetch the stored papers of the categories again, by their ids: their revisions and withdrawals.
            index: Embed what came.

        Raises:
            QueryError: Two of categories, query, ids and missing are given, or an option that does not go with them.
            SourceError: arXiv cannot be reached before anything came; later, the report's `failure` says so.
        """
        from ingest.jobs.run import run_category, run_gaps, run_ids, run_missing, run_query, run_refresh
        from ingest.report import Report

        if sum(map(bool, (categories, query, ids, missing))) > 1:
            raise QueryError("Choose one of --category, --query, --id and --missing.")
        if ((since or repair or refresh) and (ids or missing)) or ((repair or refresh) and query) or (repair and refresh):
            raise QueryError("--since, --repair and --refresh go with --category, one of the last two; --since with --query too.")
        if missing:
            reports = [run_missing(self._home, self._progress)]
        elif ids:
            wanted = [ArxivId.parse(paper_id(identifier).removeprefix("arxiv:")) for identifier in ids]
            reports = [run_ids(self._home, wanted, self._progress)]
        elif query:
            reports = [run_query(self._home, query, since, self._progress)]
        else:
            run = run_gaps if repair else run_refresh if refresh else run_category
            reports = [run(self._home, category, since, self._progress) for category in categories or self._followed()]
        return self._finish(Report.combine(reports), index)

    def ingest_oai(
        self, sets: Sequence[str] = (), *, since: date | None = None, repair: bool = False, index: bool = True
    ) -> Report:
        """Ingest from arXiv's OAI-PMH what changed since the last time, in sets such as `cs` or categories such as `cs.CL`.

        Without sets, the categories of `config.toml` are taken. `repair` compares all that arXiv lists with what came.

        Raises:
            QueryError: No set is named and no category followed.
            SourceError: arXiv cannot be reached before anything came; later, the report's `failure` says so.
        """
        from ingest.jobs.run import run_oai
        from ingest.report import Report

        reports = [run_oai(self._home, name, since, repair, self._progress) for name in sets or self._followed()]
        return self._finish(Report.combine(reports), index)

    def ingest_code(self, archive: _PathLike | None = None, *, check: int = 0) -> Report:
        """Find the repositories of papers, in a Papers-with-Code archive or in the stored abstracts, comments and notes.

        `check` without an archive asks Hugging Face and GitHub about so many papers and repositories.

        Raises:
            SourceError: The archive cannot be read.
        """
        from ingest.jobs.run import run_code, run_code_archive, run_code_check

        if archive is not None:
            return run_code_archive(self._home, Path(archive), self._progress)
        return run_code_check(self._home, check, self._progress) if check else run_code(self._home)

    def index(self, *, ray: str = "") -> EmbeddingReport:
        """Embed what is new and publish it to searches; every ingest does so unless it is told not to.

        `ray` is the address of a Ray cluster's head, HOST:PORT, to embed on.

        >>> base.index().embedded  # nothing is new
        0

        Raises:
            ModelError: The model cannot be loaded.
            ClusterError: No Ray cluster answers there.
        """
        from ingest.jobs.run import run_index
        from kb.cluster import cluster_at
        from kb.models.registry import load_encoder

        self._home.current_name()  # raises if there is nothing to index, before a model is loaded
        with cluster_at(ray) as cluster:
            return run_index(self._home, load_encoder(), self._progress, cluster)

    # Searching ------------------------------------------------------------------------------------------------------

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        categories: Sequence[str] = (),
        author: str = "",
        years: str = "",
        has_code: bool = False,
        source: str = "",
        list_name: str = "",
        facet: Facet | None = None,
        hops: int = 1,
        sort: Sort = "relevance",
    ) -> list[Hit]:
        """Find the k papers that answer best to a phrase, an abstract, a title, an id or an address.

        Args:
            text: What is searched for; operators such as `"exact phrase"`, `-word` and `author:NAME` restrict it, see
                `kb.search.query_syntax`.
            k: How many papers, 1 to 1000.
            categories: Only papers of any of these; `cs` stands for every `cs.…`.
            author: Only papers with an author whose name contains this.
            years: Only papers of `2019`, `2019..2023`, `2019..` or `..2023`.
            has_code: Only papers with a repository.
            source: Only papers that a note tells of, `notes`, or that have arXiv's metadata, `arxiv`.
            list_name: Only papers of this reading list.
            facet: Alike in `background`, `method` or `result` only.
            hops: 2 searches again, near to the best of what was found.
            sort: The order of the k best papers: `relevance`, `date` (newest first) or `stars` of their code.

        >>> [hit.paper.id for hit in base.search("generative adversarial networks", k=1, years="2014")]
        ['arxiv:1406.2661']

        Raises:
            QueryError: The text is empty, a filter makes no sense, nothing is embedded yet, or an id is not known.
            ModelError: The index was built with another model.
        """
        filters = self._filters(categories, author, years, has_code, source, list_name)
        with self._searching() as searcher:
            return searcher.search(text, k, filters, facet, hops, sort)

    def like(
        self,
        ids: Sequence[str],
        not_like: Sequence[str] = (),
        text: str = "",
        k: int = 10,
        *,
        categories: Sequence[str] = (),
        author: str = "",
        years: str = "",
        has_code: bool = False,
        source: str = "",
        list_name: str = "",
        facet: Facet | None = None,
        hops: int = 1,
        sort: Sort = "relevance",
    ) -> list[Hit]:
        """Find the k papers most like some, unlike others, and near to a text; the other parameters are those of `search`.

        >>> hits = base.like(["1810.04805"], ["1512.03385"], k=3, years="2019..")
        >>> [hit.rank for hit in hits], all(hit.paper.year >= 2019 for hit in hits)
        ([1, 2, 3], True)

        Raises:
            QueryError: As `search`, and if neither a paper nor a text is given.
            ModelError: The index was built with another model.
        """
        filters = self._filters(categories, author, years, has_code, source, list_name)
        with self._searching() as searcher:
            return searcher.like(ids, not_like, text, k, filters, facet, hops, sort)

    def correct_spelling(self, text: str) -> str:
        """The text with each word that no paper has replaced by the most similar word of the titles, if there is one.

        >>> base.correct_spelling("atention is all you need")
        'attention is all you need'

        Raises:
            QueryError: Nothing is embedded yet.
        """
        with self._searching() as searcher:
            return searcher.correct_spelling(text)

    def parse_query(self, text: str) -> ParsedQuery:
        """How `search` understands a query: its text, and the conditions that its operators set.

        >>> base.parse_query('"language models" -survey year:2019..').conditions.describe()
        ['phrase “language models”', 'without “survey”', 'years 2019–']
        """
        with self._searching() as searcher:
            return searcher.parse(text)

    def passages(self, text: str, k: int = 5) -> list[Passage]:
        """The sentences of abstracts and notes that answer best to a text, from the k papers that `search` finds.

        >>> passages = base.passages("dot-product attention instead of recurrence", k=3)
        >>> {passage.source.partition(":")[0] for passage in passages} <= {"abstract", str(SAMPLE_NOTES)}
        True

        Raises:
            QueryError: As `search`.
            ModelError: The index was built with another model.
        """
        from kb.search.passages import find_passages

        with self._searching() as searcher:
            return find_passages(searcher, searcher.search(text, k), searcher.parse(text).text)

    def show(self, identifier: str) -> PaperDetails:
        """Everything known of one paper, by its id or address.

        >>> base.show("arXiv:1706.03762v5").hit.paper.title
        'Attention Is All You Need'

        Raises:
            QueryError: The paper is not in the knowledge base.
        """
        from kb.search.explain import explain
        from kb.search.searcher import find_paper

        with self._searching() as searcher:
            hit = find_paper(searcher.catalogue, identifier)
            code = CodeCatalogue(searcher.catalogue)
            return PaperDetails(
                hit,
                Ledger(searcher.catalogue).history(hit.paper.id),
                tuple(code.mentioned([hit.paper.id]).get(hit.paper.id, ())),
                code.project_page(hit.paper.id),
                tuple(explain(searcher, hit.paper.id)),
                searcher.catalogue.notes.title_origin(hit.paper.id),
            )

    def match(self) -> list[UntitledNoteMatches]:
        """The notes without a title, each with the papers that it may be about.

        >>> base.match()  # every note of the sample has a title
        []
        """
        with self._catalogue() as catalogue:
            notes, matches = catalogue.notes.untitled(), catalogue.notes.matches()
            keys = {match.paper_id: catalogue.key_of(match.paper_id) for match in matches if match.paper_id}
            papers = catalogue.papers([key for key in keys.values() if key is not None])
        titles = {identifier: papers[key].title if key is not None else "" for identifier, key in keys.items()}
        return [
            UntitledNoteMatches(
                note,
                tuple(PossiblePaper(m, titles.get(m.paper_id, "")) for m in matches if m.note_id == note.id),
            )
            for note in notes
        ]

    def match_note(self, note_id: str, paper: str) -> tuple[str, str]:
        """Say which paper an untitled note is about, by id or address; `none` for none of those offered.

        Returns the note's id and the paper's, empty for none.

        Raises:
            QueryError: There is no such note without a title, or no such paper.
        """
        from ingest.jobs.run import run_match

        wanted = note_id if note_id.startswith("url:") else f"url:note:{note_id}"
        identifier = "" if paper == "none" else paper_id(paper)
        with self._catalogue() as catalogue:
            if wanted not in {note.id for note in catalogue.notes.untitled()}:
                raise QueryError(f"There is no note {note_id!r} without a title; `kb match` lists them.")
            if identifier:
                key = catalogue.key_of(identifier)
                if key is None:
                    raise QueryError(f"{paper} is not in the knowledge base. Ingest it first: `kb ingest arxiv --id {paper}`.")
                identifier = catalogue.papers([key])[key].id
        if identifier == wanted:
            raise QueryError("That is the note itself; name the paper that it is about.")
        run_match(self._home, wanted, identifier)
        return wanted, identifier

    # Reading lists --------------------------------------------------------------------------------------------------

    def lists(self) -> list[ListSummary]:
        """Every reading list, the oldest first.

        >>> base.list_new("Vision", ["1512.03385", "2010.11929"])
        2
        >>> [(summary.name, summary.papers, summary.unread) for summary in base.lists() if summary.name == "Vision"]
        [('Vision', 2, 2)]
        """
        return self._library.lists()

    def list_new(self, name: str, ids: Sequence[str] = ()) -> int:
        """Make a list of these papers, and return how many they are.

        Raises:
            QueryError: There is a list of that name, or the name is empty or longer than 100 characters.
        """
        return self._library.create(name, self._entries(ids))

    def list_add(self, name: str, ids: Sequence[str], *, remark: str = "", tags: Iterable[str] = ()) -> ListAddition:
        """Put papers at the end of a list.

        >>> base.list_new("Language")
        0
        >>> base.list_add("Language", ["1706.03762", "1810.04805"], remark="read first", tags=["classics"]).added
        2

        Raises:
            QueryError: There is no such list.
        """
        entries = self._entries(ids, remark, tuple(tags))
        added = self._library.add(name, entries)
        untitled = tuple(entry.paper_id for entry in entries if entry.title == entry.paper_id)
        return ListAddition(added, len(entries) - added, untitled)

    def list_remove(self, name: str, ids: Sequence[str]) -> ListRemoval:
        """Take papers off a list; `list_undo` brings them back.

        Raises:
            QueryError: There is no such list.
        """
        wanted = list(dict.fromkeys(entry.paper_id for entry in self._entries(ids)))
        removed = self._library.remove(name, [*dict.fromkeys([*wanted, *map(paper_id, ids)])])
        return ListRemoval(removed, max(0, len(wanted) - removed))

    def list_delete(self, name: str) -> None:
        """Delete a list; `list_undo` brings it back.

        Raises:
            QueryError: There is no such list.
        """
        self._library.delete(name)

    def list_undo(self) -> str:
        """Take back the last removal, and say what it was; empty if there is none.

        >>> base.list_new("Short-lived")
        0
        >>> base.list_delete("Short-lived")
        >>> base.list_undo()
        "list 'Short-lived' deleted"

        Raises:
            QueryError: A list of the same name was made since.
        """
        return self._library.undo()

    def list_mark(
        self,
        name: str,
        ids: Sequence[str],
        *,
        read: bool | None = None,
        remark: str | None = None,
        tags: Iterable[str] = (),
        untag: Iterable[str] = (),
        place: int | None = None,
    ) -> int:
        """Note that papers of a list were read, a remark on them, their tags, their place; return how many they are.

        What is `None` or empty stays as it is. `place` 1 is the first; it takes one paper.

        Raises:
            QueryError: There is no such list, a paper is not on it, or several have one place.
        """
        if place is not None and len(ids) != 1:
            raise QueryError("--place takes one paper.")
        found = self._library.mark(name, ids, read=read, remark=remark, tags=tags, untag=untag)
        if found < len(set(map(paper_id, ids))):
            raise QueryError(f"Only {found} of the papers are on {name!r}: see `kb list show {name!r}`.")
        if place is not None:
            self._library.move(name, ids[0], place)
        return found

    def list_show(self, name: str) -> ReadingList:
        """A list with its papers in order.

        Raises:
            QueryError: There is no such list.
        """
        return self._library.read_list(name)

    def list_import(self, name: str, file: _PathLike) -> ListAddition:
        """Put the papers of a bibliography on a list, which is made if there is none.

        The file is BibTeX, RIS, CSL-JSON, CSV as Zotero exports it, or Markdown.

        Raises:
            SourceError: The file cannot be read, or its format is none of these.
        """
        from kb.formats.read import add_to_list, read_bibliography

        path = Path(file)
        found = _read_markdown(path) if path.suffix.lower() in {".md", ".markdown"} else read_bibliography(path)
        with self._catalogue_if_any() as catalogue:
            done = add_to_list(found, name, self._library, self._choices, catalogue)
        return ListAddition(done.added, len(found.entries) - done.added, skipped=found.skipped, notices=done.notices)

    def export(self, name: str, form: str, *, remember: bool = True) -> str:
        """A reading list as the text of a file: bibtex, ris, csl-json, csv, markdown, obsidian or atom.

        A paper keeps the citation key of its first export, unless `remember` is False: then nothing is written.

        >>> base.list_new("Cited", ["1706.03762"])
        1
        >>> print(base.export("Cited", "ris").splitlines()[0])
        TY  - CPAPER

        Raises:
            QueryError: There is no such list or format.
        """
        from kb.formats import WRITERS, references_of

        if form not in WRITERS:
            raise QueryError(f"There is no format {form!r}; it is one of {', '.join(WRITERS)}.")
        reading_list = self._library.read_list(name)
        with self._catalogue_if_any() as catalogue:
            references = references_of(reading_list, catalogue, self._choices, remember=remember)
        return WRITERS[form](reading_list.name, references)

    def recommend(
        self,
        list_name: str = "",
        *,
        since: date | None = None,
        not_like: Sequence[str] = (),
        k: int = 10,
        remember: bool = True,
    ) -> list[Recommendation]:
        """The k new papers nearest to a reading list, or to all of them, each with the reason.

        A paper is recommended on one day only. Papers of `not_like`, and their like, are never recommended again.

        Args:
            list_name: Empty for all lists.
            since: First day of publication; without one, the last 30 days that have papers.
            not_like: Ids or addresses of papers to dismiss.
            k: How many papers.
            remember: Keep what is recommended, so that no later day repeats it.

        Raises:
            QueryError: No paper is on the lists, or none of them is in the knowledge base.
        """
        from kb.library.recommend import recommend_for

        if not_like:
            self._choices.dismiss([paper_id(identifier) for identifier in not_like])
        today = datetime.now(UTC).date()
        with self._searching() as searcher:
            return recommend_for(searcher, self._library, self._choices, list_name, since, k, today=today, remember=remember)

    def digest(self, month: str, k: int = 12) -> Digest:
        """The k papers of a month most worth reading, each with the reason, and what the month was about.

        `kb.formats.digest` writes it as Markdown, HTML or Atom.

        >>> digest = base.digest("2017-06", k=2)
        >>> [choice.paper.published.month for choice in digest.choices]
        [6, 6]

        Raises:
            QueryError: The month is not of the form `2025-10`, or has no papers.
        """
        from kb.insights.digest import make_digest, parse_month

        first = parse_month(month)
        with self._generation() as generation:
            return make_digest(generation, first, self._library.paper_ids(), k)

    # Keeping --------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """What the knowledge base holds, and what the last jobs did.

        >>> status = base.status()
        >>> status.manifest.embedded == status.manifest.papers
        True
        """
        with self._generation() as generation:
            offered = {m.note_id for m in generation.catalogue.notes.matches() if m.status == "offered"}
            return Status(generation.manifest, tuple(generation.catalogue.runs()), len(offered))

    def doctor(self, *, repair: bool = False) -> Examination:
        """Check files, vectors, indexes and lists, and look for days without papers that should have some.

        `repair` repairs what can be made again; what the user made is not touched.

        >>> base.doctor().sound
        True
        """
        from ingest.arxiv.coverage import Coverage
        from ingest.jobs.configuration import Configuration
        from kb import doctor
        from kb.models.registry import load_encoder

        encoder = cache(load_encoder)
        found = doctor.examine(self._home, encoder)
        repaired: list[str] = []
        if repair and any(finding.is_fault for finding in found):
            repaired = doctor.repair(self._home, found, encoder, self._progress)
            found = doctor.examine(self._home, encoder)
        named: tuple[str, ...] = ()
        try:
            named = Configuration.of(self._home).categories
        except StoreError as error:
            place = self._home.configuration.name
            found.append(doctor.Finding(doctor.Part.CONFIGURATION, place, str(error), "your editor"))
        examination = Examination(tuple(found), tuple(repaired), None)
        if examination.has_faults or not self.exists():
            return examination
        with self._catalogue() as catalogue:
            coverage = Coverage.of(Ledger(catalogue), named, datetime.now(UTC).date())
        return Examination(tuple(found), tuple(repaired), coverage)

    def backup(self, archive: _PathLike) -> list[str]:
        """Write all that is the user's into one .zip: lists, what was dismissed, citation keys, `config.toml`.

        Returns the names of the files in it.

        Raises:
            QueryError: The file exists already, or there is nothing to keep.
            StoreError: The user's files are damaged, or the archive cannot be written.
        """
        from kb.library.backup import back_up

        return back_up(self._home, Path(archive))

    def restore(self, archive: _PathLike) -> Restoration:
        """Bring back what is in such an archive; what is there now is kept beside it.

        Raises:
            SourceError: The archive cannot be read, or is damaged.
        """
        from kb.library.backup import restore

        return restore(self._home, Path(archive))

    def schedule_run(self, told: Callable[[Job, int], None]) -> None:
        """Run the jobs of `config.toml` at their times, until stopped; `told` gets each that ended and its exit code.

        Raises:
            BusyError: Another scheduler serves this knowledge base.
        """
        from ingest.jobs.schedule import run_scheduler

        run_scheduler(self._home, told)

    def schedule_run_due(self) -> list[tuple[Job, int]]:
        """Run the jobs whose time has come, and return them with their exit codes."""
        from ingest.jobs.schedule import run_due

        return run_due(self._home)

    def schedule_run_job(self, run: str, command: Callable[[Sequence[str]], int]) -> int:
        """Run one job of `config.toml` now and note its outcome; `command` runs the job's words and returns the exit code.

        Raises:
            QueryError: There is no such job.
            BusyError: It is running already.
        """
        from ingest.jobs.configuration import Configuration
        from ingest.jobs.schedule import JobHistory

        for job in Configuration.of(self._home).jobs:
            if job.run == run:
                return JobHistory(self._home).run(job, command)
        raise QueryError(f"config.toml has no job {run!r}; `kb schedule show` lists them.")

    def schedule_show(self) -> list[ScheduledJob]:
        """The jobs of `config.toml`, when they run next, and how they ended last.

        >>> base.schedule_show()  # there is no config.toml
        []

        Raises:
            StoreError: `config.toml` cannot be read, or is wrong; the error names the line.
        """
        from ingest.jobs.configuration import Configuration
        from ingest.jobs.schedule import JobHistory

        jobs = Configuration.of(self._home).jobs
        history = JobHistory(self._home)
        found = []
        for job in jobs:
            record, now = history.record(job), datetime.now(UTC)
            next_run = max(now, history.next_run(job, now)).astimezone()
            words = "running" if history.running(job) else record.shown
            found.append(ScheduledJob(job.run, next_run, record.started, words))
        return found

    def schedule_install(self) -> str:
        """Let the machine's own timer run the jobs: systemd, or cron if there is none; say what was installed.

        Raises:
            StoreError: The machine has neither, or `config.toml` is wrong.
        """
        from ingest.jobs.configuration import Configuration
        from ingest.jobs.system_timers import install

        Configuration.of(self._home)
        return install(self._home)

    # Measuring and training -----------------------------------------------------------------------------------------

    def eval(
        self, folder: _PathLike | None = None, *, binary: bool = False, hops: int = 1, judged_only: bool = False
    ) -> Evaluation:
        """Measure the search on judged queries, stage by stage; without a folder, on the user's own reading lists.

        The folder has `corpus.jsonl`, `queries.jsonl` (plain or .gz) and `qrels/*.tsv`. Its documents become a knowledge
        base of their own for the time of the run; arXiv papers without a text are searched for in this one instead. Of
        reading lists, each paper is to be found by the others.

        Args:
            folder: The judged collection.
            binary: Count every grade above 0 alike.
            hops: As in `search`.
            judged_only: Leave documents that nobody judged out of the runs before measuring; for a folder.

        Raises:
            SourceError: The folder cannot be read, or nothing that it judges relevant is here.
            QueryError: No reading list has two papers of the knowledge base.
        """
        from kb.api.evaluation import evaluate_folder, evaluate_lists

        if folder is not None:
            return evaluate_folder(self._home, Path(folder), binary, hops, judged_only, self._progress)
        with self._searching() as searcher:
            return evaluate_lists(searcher, self._library, hops, self._progress)

    def train_ranker(self) -> RankerTraining:
        """Fit the ranker's weights for examples to the reading lists: each paper is to be found by the others of its list.

        They are learned from one half of the papers, beginning with the weights that come along, and kept in the knowledge base's
        folder only if they find the other half better.

        Raises:
            QueryError: No reading list has two papers of the knowledge base.
        """
        from kb.api.ranker_training import train_ranker_on_lists

        with self._searching() as searcher:
            return train_ranker_on_lists(searcher, self._library, self._home, self._progress)

    def train_marge(
        self,
        file: _PathLike | None = None,
        *,
        preset: str = "cpu",
        steps: int | None = None,
        start: str | None = None,
        ray: str = "",
    ) -> MargeTraining:
        """Train the retriever and reranker that explain a paper by others, without labels.

        A run that was stopped goes on where it was. The model is installed into the knowledge base's folder if it finds the
        other half of held-out abstracts better than the encoder and every model there was.

        Args:
            file: A snapshot of arXiv's metadata to train on instead of the papers here.
            preset: `tiny`, `cpu` or `gpu`.
            steps: So many instead of the preset's.
            start: The trained model to begin with: a folder, or `marge` for the one that comes along.
            ray: Address of a Ray cluster's head, HOST:PORT, to mine pairs on.

        Raises:
            ModelError: The model to begin with is none, or was trained over another encoder.
            ClusterError: No Ray cluster answers there.
        """
        from kb.api.marge_training import train_marge

        path = Path(file) if file is not None else None
        return train_marge(self._home, path, preset, steps, start, ray, self._progress)

    # Shared by the methods ------------------------------------------------------------------------------------------

    @property
    def _library(self) -> Library:
        return Library(self.path / LIBRARY_FILE)

    @property
    def _choices(self) -> Choices:
        return Choices(self.path / LIBRARY_FILE)

    @contextmanager
    def _generation(self) -> Iterator[Generation]:
        generation = self._home.open()
        try:
            yield generation
        finally:
            generation.close()

    @contextmanager
    def _catalogue(self) -> Iterator[Catalogue]:
        with self._generation() as generation:
            yield generation.catalogue

    @contextmanager
    def _catalogue_if_any(self) -> Iterator[Catalogue | None]:
        """The catalogue; `None` if nothing has been ingested yet: reading lists work without it."""
        if not self.exists():
            yield None
            return
        with self._catalogue() as catalogue:
            yield catalogue

    @contextmanager
    def _searching(self) -> Iterator[Searcher]:
        """The searcher of the newest generation, for one caller at a time."""
        from kb.search.searcher import Searcher

        with self._lock:
            if self._searcher is not None and self._searcher.generation.name != self._home.current_name():
                self.close()
            if self._searcher is None:
                self._searcher = Searcher.open(self._home)
            yield self._searcher

    def _filters(
        self, categories: Sequence[str], author: str, years: str, has_code: bool, source: str, list_name: str
    ) -> Filters:
        papers = self._library.papers_of(list_name)
        return Filters(tuple(categories), author, parse_years(years), has_code, source, papers)

    def _entries(self, ids: Sequence[str], remark: str = "", tags: tuple[str, ...] = ()) -> list[Entry]:
        """Entries of a reading list, as the catalogue knows the papers."""
        entries = [Entry(paper_id(identifier), "", remark=remark, tags=tags) for identifier in ids]
        with self._catalogue_if_any() as catalogue:
            return resolve_entries(entries, catalogue)

    def _followed(self) -> Sequence[str]:
        from ingest.jobs.configuration import Configuration

        categories = Configuration.of(self._home).categories
        if not categories:
            raise QueryError('Name a category, or list the ones you follow in config.toml: categories = ["cs.CL"].')
        return categories

    def _finish(self, report: Report, index: bool) -> Report:
        if index:
            self.index()
        return report


def _paths(paths: _PathLike | Sequence[_PathLike]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]


def _read_markdown(file: Path) -> Bibliography:
    from ingest.notes import read_document
    from kb.formats.markdown import entry_of_note
    from kb.formats.read import Bibliography

    document = read_document(file)
    return Bibliography(tuple(entry_of_note(note) for note in document.notes), (), document.skipped)
