"""The catalogue: upserts by meaning, notes that settle on papers, generations that are whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from kb.doctor import Part, examine
from kb.errors import BusyError, QueryError, StoreError
from kb.papers import Author, Card, CodeLink, Mention, Note, Paper, Skipped, Version
from kb.store import Catalogue, CodeCatalogue, Filters, Home, IndexDocument, IndexDocuments, PaperChanges, Run, StagedPapers

PAPER = Paper(
    id="arxiv:1706.03762",
    title="Attention Is All You Need",
    abstract="A sequence model built on attention alone.",
    authors=(Author("Vaswani", "Ashish"), Author("Shazeer", "Noam")),
    categories=("cs.CL", "cs.LG"),
    published=date(2017, 6, 12),
    updated=date(2017, 6, 12),
    year=2017,
    versions=(Version(1, datetime(2017, 6, 12, 17, 57, 34)),),
)


def with_changes(paper: Paper, **changes: object) -> Paper:
    values = {name: getattr(paper, name) for name in Paper.__slots__} | changes
    return Paper(**values)  # type: ignore[arg-type]


def upsert(catalogue: Catalogue, *papers: Paper) -> PaperChanges:
    staged = StagedPapers(catalogue)
    staged.begin()
    staged.stage(papers)
    changes = staged.merge()
    catalogue.notes.settle()
    return changes


def note(paper_id: str, title: str = "", **more: object) -> Note:
    return Note("/notes.md", 1, paper_id, title, **more)  # type: ignore[arg-type]


def the(catalogue: Catalogue, identifier: str) -> Paper:
    key = catalogue.key_of(identifier)
    assert key is not None, identifier
    return catalogue.papers([key])[key]


# Papers ------------------------------------------------------------------------------------------------------------------


def test_a_paper_comes_back_as_it_went_in(home: Home) -> None:
    paper = with_changes(
        PAPER, comments="15 pages", journal_ref="NeurIPS 2017", doi="10.1/x", licence="cc0", url="https://x.org/"
    )
    with home.draft() as draft:
        assert upsert(draft.catalogue, paper) == PaperChanges(new=1)
        assert the(draft.catalogue, paper.id) == paper


def test_an_upsert_writes_what_differs_and_nothing_else(home: Home) -> None:
    other = with_changes(PAPER, id="arxiv:1810.04805", title="BERT")
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER, other)
        key = draft.catalogue.key_of(PAPER.id)
        assert upsert(draft.catalogue, PAPER, other) == PaperChanges(unchanged=2)
        later = with_changes(PAPER, abstract="Rewritten.", updated=date(2018, 1, 1), versions=(*PAPER.versions, Version(2)))
        assert upsert(draft.catalogue, later, other) == PaperChanges(changed=1, unchanged=1)
        assert the(draft.catalogue, PAPER.id) == later
        assert draft.catalogue.key_of(PAPER.id) == key
        # The first version, brought by an older source, does not undo the second.
        assert upsert(draft.catalogue, PAPER) == PaperChanges(unchanged=1)
        assert the(draft.catalogue, PAPER.id) == later


def test_the_same_record_under_a_new_date_is_unchanged(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        assert upsert(draft.catalogue, with_changes(PAPER, updated=date(2024, 1, 1))) == PaperChanges(unchanged=1)


def test_a_field_that_the_new_record_lacks_keeps_what_was_known(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, with_changes(PAPER, doi="10.1/x", licence="cc0"))
        assert upsert(draft.catalogue, PAPER) == PaperChanges(unchanged=1)
        upsert(draft.catalogue, with_changes(PAPER, title="Attention is all you need!"))
        found = the(draft.catalogue, PAPER.id)
        assert (found.title, found.doi, found.licence) == ("Attention is all you need!", "10.1/x", "cc0")


def test_a_record_staged_twice_counts_once_with_most_versions(home: Home) -> None:
    second = with_changes(PAPER, title="Second", versions=(Version(1), Version(2)))
    with home.draft() as draft:
        assert upsert(draft.catalogue, second, PAPER) == PaperChanges(new=1, unchanged=1)
        assert the(draft.catalogue, PAPER.id).title == "Second"


def test_what_a_merge_is_about_to_write_can_be_read_meanwhile(home: Home) -> None:
    known = with_changes(PAPER, abstract="See github.com/a/known.")
    kept = with_changes(PAPER, id="arxiv:1810.04805", abstract="See github.com/a/kept.")
    with home.draft() as draft:
        catalogue = draft.catalogue
        upsert(catalogue, known, kept)
        staged = StagedPapers(catalogue)
        staged.begin()
        staged.stage(
            [
                with_changes(PAPER, title="Another title", abstract=""),
                kept,
                with_changes(PAPER, id="arxiv:1901.00001", abstract="See GitHub.com/a/older."),
                with_changes(PAPER, id="arxiv:1901.00001", abstract="See GitHub.com/a/newer."),
                with_changes(PAPER, id="arxiv:1901.00002", abstract="Names nothing."),
            ]
        )
        with staged.merging() as changes:
            texts = list(CodeCatalogue(catalogue).merging_texts("(?i)github"))
        assert changes == PaperChanges(new=2, changed=1, unchanged=2)
        assert sorted((text.id, text.title, text.abstract) for text in texts) == [
            ("arxiv:1706.03762", "Another title", "See github.com/a/known."),
            ("arxiv:1901.00001", PAPER.title, "See GitHub.com/a/newer."),
        ]
        assert [text.authors for text in texts] == [PAPER.authors] * 2
        assert the(catalogue, "arxiv:1901.00001").abstract == "See GitHub.com/a/newer."


def test_an_error_beside_a_merge_and_one_in_it_reach_the_caller(home: Home) -> None:
    def interrupted(catalogue: Catalogue) -> None:
        staged = StagedPapers(catalogue)
        staged.begin()
        staged.stage([PAPER])
        with staged.merging():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), home.draft() as draft:
        interrupted(draft.catalogue)
    with pytest.raises(duckdb.ConstraintException), home.draft() as draft:
        upsert(draft.catalogue, with_changes(PAPER, title=None))
    assert not home.exists()
    with home.draft() as draft:
        assert upsert(draft.catalogue, PAPER) == PaperChanges(new=1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: what a shell starts in the background inherits an ignored one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_in_the_middle_of_a_query_is_ctrl_c(home: Home) -> None:
    def long_query() -> None:
        with home.draft() as draft:
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
            draft.catalogue.connection.write("CREATE TEMP TABLE t AS SELECT hash(range) AS h FROM range(50_000_000)")

    with pytest.raises(KeyboardInterrupt):
        long_query()
    assert list(home.generations.iterdir()) == []


# Notes -------------------------------------------------------------------------------------------------------------------


def test_a_paper_known_only_by_a_note(home: Home) -> None:
    with home.draft() as draft:
        catalogue = draft.catalogue
        changes = catalogue.notes.replace("/notes.md", [note("arxiv:2106.09685", "LoRA", body="Low-rank **updates**.")], [])
        catalogue.notes.settle()
        assert (changes.new, changes.changed, changes.removed) == (1, 0, 0)
        paper = the(catalogue, "arxiv:2106.09685")
        assert (paper.title, paper.origin, paper.year, paper.abstract) == ("LoRA", "notes", 2021, "")
        key = catalogue.key_of(paper.id)
        assert key is not None
        assert catalogue.texts(np.array([key])) == {key: ("LoRA", "Low-rank updates.")}
        # Its metadata arrives: the same paper, under the same key, now read by its abstract.
        upsert(catalogue, with_changes(PAPER, id="arxiv:2106.09685", title="LoRA: Low-Rank Adaptation"))
        assert the(catalogue, "arxiv:2106.09685").origin == "arxiv"
        assert catalogue.key_of(paper.id) == key
        assert catalogue.texts(np.array([key])) == {key: ("LoRA: Low-Rank Adaptation", PAPER.abstract)}


@pytest.mark.parametrize("metadata_first", [True, False])
def test_other_copies_of_an_arxiv_paper_are_that_paper(home: Home, metadata_first: bool) -> None:
    copies = [
        note("openreview:abcdef", "Attention is all you need", year=2017),
        note("url:https://paperswithcode.com/paper/attention-is-all-you-need", "Attention Is All You Need"),
        note("doi:10.1/x", "Another title"),
    ]
    with home.draft() as draft:
        catalogue = draft.catalogue
        if metadata_first:
            upsert(catalogue, with_changes(PAPER, doi="10.1/x"))
        catalogue.notes.replace("/notes.md", copies, [])
        catalogue.notes.settle()
        if not metadata_first:
            assert catalogue.counts()["papers"] == 2  # the page is the OpenReview copy, by its title
            upsert(catalogue, with_changes(PAPER, doi="10.1/x"))
        assert catalogue.counts()["papers"] == 1
        assert {the(catalogue, copy.paper_id).id for copy in copies} == {PAPER.id}
        assert len(catalogue.notes.on([PAPER.id])[PAPER.id]) == 3


def test_titles_that_prove_nothing_merge_nothing(home: Home) -> None:
    twin = with_changes(PAPER, id="arxiv:1801.00001")
    short = with_changes(PAPER, id="arxiv:1801.00002", title="Deep Learning")
    with home.draft() as draft:
        catalogue = draft.catalogue
        upsert(catalogue, PAPER, twin, short)
        catalogue.notes.replace(
            "/notes.md",
            [
                note("openreview:ambiguous", PAPER.title),  # two papers have this title
                note("url:https://example.org/book", "Deep learning"),  # too short to be one paper's own
            ],
            [],
        )
        catalogue.notes.settle()
        assert catalogue.counts()["papers"] == 5


def test_a_title_years_apart_is_another_paper(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.catalogue.notes.replace("/notes.md", [note("url:https://example.org/a", PAPER.title, year=1999)], [])
        draft.catalogue.notes.settle()
        assert draft.catalogue.counts()["papers"] == 2


def test_reading_a_document_again(home: Home) -> None:
    first = [
        note("arxiv:2106.09685", "LoRA", body="a"),
        note("arxiv:1810.04805", "BERT", body="b"),
        note("arxiv:1706.03762", "T"),
    ]
    second = [note("arxiv:2106.09685", "LoRA", body="a"), note("arxiv:1810.04805", "BERT", body="edited")]
    with home.draft() as draft:
        catalogue = draft.catalogue
        catalogue.notes.replace("/notes.md", first, [])
        catalogue.notes.settle()
        changes = catalogue.notes.replace("/notes.md", second, [])
        catalogue.notes.settle()
        assert (changes.new, changes.changed, changes.unchanged, changes.removed) == (0, 1, 1, 1)
        assert catalogue.counts()["papers"] == 2
        assert catalogue.key_of("arxiv:1706.03762") is None


def test_settling_twice_changes_nothing(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.catalogue.notes.replace("/notes.md", [note("openreview:abcdef", PAPER.title), note("doi:10.5/y", "Other")], [])
        draft.catalogue.notes.settle()
        before = draft.catalogue.documents()
        draft.catalogue.notes.settle()
        after = draft.catalogue.documents()
        assert before.keys.tolist() == after.keys.tolist()
        assert before.digests == after.digests


def test_code_links_of_notes_and_their_order(home: Home) -> None:
    repository = "https://github.com/a/notes"
    with home.draft() as draft:
        catalogue = draft.catalogue
        upsert(catalogue, PAPER)
        catalogue.replace_code_links([(PAPER.id, CodeLink("https://github.com/a/own", "abstract"))], ["abstract", "comments"])
        mention = Mention("repository", repository, "code", 3, stars=7, confidence=0.8, evidence="labelled code")
        catalogue.notes.replace("/notes.md", [note(PAPER.id, "T", mentions=(mention,))], [])
        catalogue.notes.settle()
        links = catalogue.code_of([PAPER.id])[PAPER.id]
        assert [(x.url, x.source, x.stars) for x in links] == [
            ("https://github.com/a/own", "abstract", None),
            (repository, "notes", 7),
        ]
        assert catalogue.notes.on([PAPER.id])[PAPER.id][0].mentions == (mention,)


def test_a_card_holds_all_that_is_known_and_its_digest_tells_whether_that_changed(home: Home) -> None:
    other = with_changes(PAPER, id="arxiv:1810.04805", title="BERT")
    own = CodeLink("https://github.com/a/own", "abstract", confidence=0.9)
    with home.draft() as draft:
        catalogue = draft.catalogue
        upsert(catalogue, PAPER, other)
        StagedPapers(catalogue).touch_all()
        catalogue.replace_code_links([(PAPER.id, own), (other.id, own)], ["abstract"])
        mention = Mention("web", "https://x.org", "code", 3)
        catalogue.notes.replace("/notes.md", [note(PAPER.id, "T", mentions=(mention,)), note(PAPER.id, "", body="more")], [])
        catalogue.notes.settle()
        key, unchanged = catalogue.key_of(PAPER.id), catalogue.key_of(other.id)
        assert key is not None and unchanged is not None
        notes = tuple(catalogue.notes.on([PAPER.id])[PAPER.id])
        assert (len(notes), notes[0].mentions) == (2, (mention,))
        assert catalogue.cards([key, unchanged, 99]) == {key: Card(PAPER, (own,), notes), unchanged: Card(other, (own,))}
        texts = IndexDocuments(catalogue)
        (text,) = texts.of(np.asarray([key, 99]))
        assert text == IndexDocument(key, Card(PAPER, (own,), notes), "T. .  . more. ", ("a/own",))
        before, cards = texts.digests(), catalogue.cards([key])
        for change in (
            f"UPDATE papers SET journal_ref = 'NeurIPS' WHERE key = {key}",
            f"UPDATE papers SET withdrawn = TRUE WHERE key = {key}",
            f"UPDATE papers SET authors = list_reverse(authors) WHERE key = {key}",
            "UPDATE notes SET body = 'much more' WHERE number = 1",
            "UPDATE notes SET line = 7 WHERE number = 1",
            "UPDATE mentions SET remark = 'new'",
            "DELETE FROM mentions",
            f"UPDATE code_links SET confidence = 0.95 WHERE paper_id = '{PAPER.id}'",
            f"UPDATE code_links SET confidence = 0.3 WHERE paper_id = '{PAPER.id}'",  # hardly its own
            f"INSERT INTO code_links BY NAME SELECT '{PAPER.id}' AS paper_id, 'https://github.com/a/n' AS url, 'notes' AS source",
            "DELETE FROM notes",
        ):
            catalogue.connection.write(change)
            after, now = texts.digests(), catalogue.cards([key])
            assert after.keys() == before.keys()
            assert after[key] != before[key] and now != cards, change
            assert after[unchanged] == before[unchanged]
            before, cards = after, now
        # What a forge says of a repository is said of every paper that has it.
        catalogue.connection.write(
            "INSERT INTO repositories VALUES ('https://github.com/a/own', now()::TIMESTAMP, 5, FALSE, FALSE, '', '')"
        )
        after = texts.digests()
        assert after[unchanged] != before[unchanged]
        assert catalogue.cards([unchanged])[unchanged].code[0].stars == 5


# Filters -----------------------------------------------------------------------------------------------------------------


def test_filters(home: Home) -> None:
    papers = [
        PAPER,
        with_changes(
            PAPER, id="arxiv:1801.00001", title="B", categories=("stat.ML",), year=2018, authors=(Author("Müller", "Jörg"),)
        ),
        with_changes(PAPER, id="arxiv:1901.00001", title="C", categories=("cs.CV",), year=2019, authors=()),
    ]
    with home.draft() as draft:
        catalogue = draft.catalogue
        upsert(catalogue, *papers)
        StagedPapers(catalogue).touch_all()
        catalogue.replace_code_links([("arxiv:1901.00001", CodeLink("https://github.com/a/b", "abstract"))], ["abstract"])
        catalogue.notes.replace("/notes.md", [note("arxiv:1801.00001", "B"), note("doi:10.5/y", "Only noted", year=2020)], [])
        catalogue.notes.settle()

        def passing(**filters: object) -> set[str]:
            keys = catalogue.select(Filters(**filters))  # type: ignore[arg-type]
            assert keys is not None
            return {p.title for p in catalogue.papers(keys.tolist()).values()}

        assert catalogue.select(Filters()) is None
        assert passing(categories=("cs",)) == {PAPER.title, "C"}
        assert passing(categories=("cs.CV", "stat.ML")) == {"B", "C"}
        assert passing(author="jorg MULLER") == {"B"}
        assert passing(author="%") == set()
        assert passing(years=(2018, 2019)) == {"B", "C"}
        assert passing(years=(None, 2017)) == {PAPER.title}
        assert passing(has_code=True) == {"C"}
        assert passing(source="notes") == {"B", "Only noted"}
        assert passing(source="arxiv", years=(2018, None)) == {"B", "C"}
        with pytest.raises(QueryError, match="'arxiv' or 'notes'"):
            catalogue.select(Filters(source="x"))


# Generations ---------------------------------------------------------------------------------------------------------------


def test_a_generation_is_published_whole(home: Home) -> None:
    assert not home.exists()
    with pytest.raises(StoreError, match="no knowledge base"):
        home.open()
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.publish()
    first = home.open()
    with home.draft() as draft:
        upsert(draft.catalogue, with_changes(PAPER, id="arxiv:1810.04805", title="BERT"))
        # The reader still sees the first, and opening now gives the first.
        assert home.open().catalogue.counts()["papers"] == 1
        draft.publish()
    assert first.catalogue.counts()["papers"] == 1
    second = home.open()
    assert (second.manifest.generation, second.manifest.papers, second.catalogue.counts()["papers"]) == (2, 2, 2)


def test_a_draft_that_fails_leaves_nothing(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()

    def fail() -> None:
        with home.draft() as draft:
            upsert(draft.catalogue, PAPER)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert home.open().catalogue.counts()["papers"] == 0
    assert [p.name for p in home.generations.iterdir()] == ["000001"]


def test_old_generations_are_swept_and_an_open_one_stays_readable(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.publish()
    reader = home.open()
    for _ in range(4):
        with home.draft() as draft:
            draft.publish()
    assert sorted(p.name for p in home.generations.iterdir()) == ["000004", "000005"]
    assert reader.catalogue.counts()["papers"] == 1


def test_one_writer_at_a_time(home: Home) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with home.draft():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)
    try:
        with pytest.raises(BusyError, match="Another job"), home.draft():
            pass
    finally:
        leave.set()
        thread.join()


def test_a_newer_schema_is_refused(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()
    manifest = home.generations / "000001" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 999}))
    with pytest.raises(StoreError, match="newer version"):
        home.open()


@pytest.mark.parametrize("damage", ["delete", "truncate", "garbage"])
def test_damaged_files_are_named(home: Home, damage: str) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.publish()
    database = home.generations / "000001" / "catalogue.duckdb"
    if damage == "delete":
        database.unlink()
    elif damage == "truncate":
        database.write_bytes(database.read_bytes()[:3000])
    else:
        database.write_bytes(b"no database" * 5000)
    with pytest.raises(StoreError, match=r"catalogue\.duckdb"):
        home.open()


def test_a_damaged_pointer_gives_the_newest_whole_generation(home: Home) -> None:
    with home.draft() as draft:
        upsert(draft.catalogue, PAPER)
        draft.publish()
    (home.path / "CURRENT").write_text("../../etc\n")
    assert home.open().catalogue.counts()["papers"] == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"), Home(tmp_path / "file").draft():
        pass


def test_runs_are_recorded(home: Home) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)
    run = Run("snapshot", "a.jsonl", at, at, "partial", {"new": 3, "skipped": 1})
    with home.draft() as draft:
        draft.catalogue.record_run(run, [Skipped("a.jsonl", 7, "no title")])
        draft.publish()
    (found,) = home.open().catalogue.runs()
    assert (found.job, found.counts, found.outcome, found.started, found.number) == ("snapshot", run.counts, "partial", at, 1)


@pytest.mark.parametrize("how", ["lost", "empty", "bytes", "of no generation", "path", "folder", "link", "circle of links"])
def test_a_damaged_pointer_leads_to_the_newest_generation(home: Home, how: str) -> None:
    for _ in range(2):
        with home.draft() as draft:
            draft.publish()
    pointer = home.path / "CURRENT"
    pointer.unlink()
    match how:
        case "empty" | "bytes" | "of no generation" | "path":
            said = {"empty": b"", "bytes": b"\xff\x00", "of no generation": b"000099\n", "path": b"../../etc\n"}
            pointer.write_bytes(said[how])
        case "folder":
            pointer.mkdir()
            (pointer / "file").write_text("not ours")
        case "link":
            pointer.symlink_to(home.path / "nowhere" / "CURRENT")
        case "circle of links":
            pointer.symlink_to(pointer)
    assert home.current_name() == "000002"
    home.open().close()
    (finding,) = examine(home, lambda name: pytest.fail(name))
    assert (finding.part, finding.place) == (Part.POINTER, "CURRENT")
    home.set_current(home.current_name())
    assert (pointer.is_symlink(), pointer.read_text()) == (False, "000002\n")
    assert examine(home, lambda name: pytest.fail(name)) == []
    assert [path.read_text() for path in home.backups.rglob("file")] == (["not ours"] if how == "folder" else [])


def test_temporary_files_of_killed_processes_are_swept(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()
    for folder in (home.path, home.path / "job", home.vectors / "model"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (".old.0123456789ab.tmp", ".new.0123456789ab.tmp", "notes.tmp"):
            (folder / name).write_text("x")
        os.utime(folder / ".old.0123456789ab.tmp", (0, 0))
        os.utime(folder / "notes.tmp", (0, 0))  # not made by this program
    with home.draft():
        pass
    assert {path.name for path in home.path.rglob("*.tmp")} == {".new.0123456789ab.tmp", "notes.tmp"}


def test_where_every_generation_is_gone_a_new_one_can_be_made(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()
    shutil.rmtree(home.generations)
    assert not home.exists()
    with pytest.raises(StoreError, match=r"holds no generation\. Ingest again"):
        home.open()
    with home.draft() as draft:
        draft.publish()
    assert home.current_name() == "000001"
