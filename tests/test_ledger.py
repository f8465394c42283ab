"""The ledger: versions, what changed between them, withdrawals, datestamps, and how far a harvest has come."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from importlib import resources
from pathlib import Path

from kb.papers import Author, Note, Paper, Version
from kb.store import Catalogue, Harvest, History, Home, Ledger, StagedPapers, TextChange, Withdrawal
from kb.store.connection import Connection
from kb.store.schema import migrate

FIRST = Version(1, datetime(2024, 1, 2, 10))
SECOND = Version(2, datetime(2024, 2, 2, 10))
THIRD = Version(3, datetime(2024, 3, 2, 10))
PAPER = Paper(
    id="arxiv:2401.00001",
    title="On parsing",
    abstract="We parse.",
    authors=(Author("Lovelace", "Ada"),),
    categories=("cs.CL",),
    licence="cc0",
    published=date(2024, 1, 2),
    updated=date(2024, 1, 3),
    year=2024,
    versions=(FIRST,),
)
REVISED = replace(PAPER, title="On parsing well", abstract="We parse well.", updated=date(2024, 2, 3), versions=(FIRST, SECOND))


def put(catalogue: Catalogue, *papers: Paper, marks_withdrawn: bool = True) -> None:
    staged = StagedPapers(catalogue)
    staged.begin()
    staged.stage(papers, marks_withdrawn)
    staged.merge()
    catalogue.notes.settle()


def stored(catalogue: Catalogue, identifier: str = PAPER.id) -> Paper:
    key = catalogue.key_of(identifier)
    assert key is not None
    return catalogue.papers([key])[key]


def test_a_changed_text_is_kept_beside_the_version_that_had_it(home: Home) -> None:
    with home.draft() as draft:
        put(draft.catalogue, PAPER)
        put(draft.catalogue, REVISED)
        put(
            draft.catalogue,
            replace(REVISED, abstract="We parse best.", updated=date(2024, 3, 3), versions=(FIRST, SECOND, THIRD)),
        )
        assert Ledger(draft.catalogue).history(PAPER.id) == History(
            versions=(FIRST, SECOND, THIRD),
            changes=(
                TextChange("title", 1, 2, "On parsing", "On parsing well"),
                TextChange("abstract", 1, 2, "We parse.", "We parse well."),
                TextChange("abstract", 2, 3, "We parse well.", "We parse best."),
            ),
        )


def test_a_version_with_the_same_text_adds_no_text(home: Home) -> None:
    with home.draft() as draft:
        put(draft.catalogue, PAPER)
        put(draft.catalogue, replace(PAPER, updated=date(2024, 2, 3), versions=(FIRST, SECOND)))
        assert Ledger(draft.catalogue).history(PAPER.id) == History(versions=(FIRST, SECOND))


def test_only_a_changed_text_is_embedded_again(home: Home) -> None:
    other = replace(PAPER, id="arxiv:2401.00002", title="On speech")
    with home.draft() as draft:
        put(draft.catalogue, PAPER, other)
        before = dict(zip(draft.catalogue.documents().keys.tolist(), draft.catalogue.documents().digests, strict=True))
        put(draft.catalogue, REVISED, replace(other, updated=date(2024, 2, 3), versions=(FIRST, SECOND), licence="by"))
        after = dict(zip(draft.catalogue.documents().keys.tolist(), draft.catalogue.documents().digests, strict=True))
        changed = {key for key, digest in after.items() if before[key] != digest}
        assert changed == {draft.catalogue.key_of(PAPER.id)}


def test_a_withdrawal_has_its_version_its_day_and_its_reason(home: Home) -> None:
    withdrawn = replace(REVISED, comments="Lemma 2 is wrong", updated=date(2024, 2, 3), withdrawn=True, versions=(FIRST, SECOND))
    with home.draft() as draft:
        put(draft.catalogue, PAPER)
        put(draft.catalogue, withdrawn)
        ledger = Ledger(draft.catalogue)
        assert stored(draft.catalogue).withdrawn
        assert ledger.history(PAPER.id).withdrawals == (Withdrawal(2, date(2024, 2, 3), "Lemma 2 is wrong"),)
        # Said again, with another reason: the last word stands. A third version brings the paper back.
        put(draft.catalogue, replace(withdrawn, comments="Lemma 3 is wrong too", updated=date(2024, 2, 9)))
        assert ledger.history(PAPER.id).withdrawals == (Withdrawal(2, date(2024, 2, 9), "Lemma 3 is wrong too"),)
        put(draft.catalogue, replace(REVISED, updated=date(2024, 3, 3), versions=(FIRST, SECOND, THIRD)))
        assert not stored(draft.catalogue).withdrawn
        assert ledger.history(PAPER.id).withdrawals == (Withdrawal(2, date(2024, 2, 9), "Lemma 3 is wrong too"),)


def test_a_deleted_record_is_marked_once(home: Home) -> None:
    with home.draft() as draft:
        put(draft.catalogue, PAPER)
        ledger = Ledger(draft.catalogue)
        assert ledger.withdraw([PAPER.id, "arxiv:2401.09999"], date(2024, 5, 1), "Deleted.") == 1
        assert ledger.withdraw([PAPER.id], date(2024, 5, 2), "Deleted.") == 0
        assert ledger.history(PAPER.id).withdrawals == (Withdrawal(1, date(2024, 5, 1), "Deleted."),)


def test_a_source_that_knows_less_takes_nothing_away(home: Home) -> None:
    """The Atom API gives no licence, no dates between the first and the last version, and no mark of withdrawal."""
    whole = replace(REVISED, withdrawn=True, versions=(FIRST, SECOND, THIRD), updated=date(2024, 3, 2))
    poorer = replace(whole, withdrawn=False, licence="", versions=(FIRST, Version(2), THIRD))
    with home.draft() as draft:
        put(draft.catalogue, whole)
        put(draft.catalogue, poorer, marks_withdrawn=False)
        assert stored(draft.catalogue) == whole
        # A source that marks is believed.
        put(draft.catalogue, replace(whole, withdrawn=False))
        assert not stored(draft.catalogue).withdrawn


def test_the_papers_that_only_notes_tell_of(home: Home) -> None:
    with home.draft() as draft:
        notes = [
            Note("/n.md", 1, "arxiv:1706.03762", "Attention"),
            Note("/n.md", 2, PAPER.id, ""),
            Note("/n.md", 3, "doi:10.1/x", ""),
        ]
        draft.catalogue.notes.replace("/n.md", notes, [])
        put(draft.catalogue, PAPER)
        assert Ledger(draft.catalogue).known_by_notes() == ["arxiv:1706.03762"]


def test_datestamps_tell_what_has_to_be_asked_for(home: Home) -> None:
    old, new = date(2024, 1, 1), date(2024, 6, 1)
    with home.draft() as draft:
        ledger = Ledger(draft.catalogue)
        ledger.record_datestamps([("arxiv:2401.00001", old), ("arxiv:2401.00002", new)])
        ledger.record_datestamps([("arxiv:2401.00002", old)])
        listed = [("arxiv:2401.00001", new), ("arxiv:2401.00002", new), ("arxiv:2401.00003", old)]
        assert ledger.not_received(listed) == [("arxiv:2401.00003", old), ("arxiv:2401.00001", new)]


def test_a_harvest_comes_back_as_it_was_kept(home: Home) -> None:
    kept = Harvest(
        "oai:cs", datetime(2024, 1, 1), datetime(2024, 5, 1), None, datetime(2024, 4, 1), "token|1", datetime(2024, 5, 2), True
    )
    with home.draft() as draft:
        Ledger(draft.catalogue).save_harvest(kept)
        Ledger(draft.catalogue).save_harvest(replace(kept, source="oai:math"))
        draft.publish()
    generation = home.open()
    ledger = Ledger(generation.catalogue)
    assert ledger.harvest("oai:cs") == kept
    assert ledger.harvest("oai:physics") == Harvest("oai:physics")
    assert [h.source for h in ledger.harvests()] == ["oai:cs", "oai:math"]
    generation.close()


def test_a_catalogue_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "old.duckdb", read_only=False)
    connection.write("CREATE TABLE migrations (number INTEGER NOT NULL)")
    connection.write(resources.files("kb.store").joinpath("migrations/001.sql").read_text())
    connection.write("INSERT INTO migrations VALUES (1)")
    connection.write(
        """INSERT INTO papers SELECT 1, 'arxiv:2401.00001', 'On parsing', 'onparsing', '', [], ['cs.CL'], 'Withdrawn: see v1', '',
           '', '', '', NULL, DATE '2024-02-03', 2024, [{'number': 1, 'created': NULL}, {'number': 2, 'created': NULL}], TRUE,
           'arxiv'"""
    )
    connection.write("INSERT INTO runs VALUES (1, 'snapshot', 's', now(), now(), 'done', MAP {'new': 1}, '')")
    migrate(connection)
    catalogue = Catalogue(connection)
    history = Ledger(catalogue).history("arxiv:2401.00001")
    assert history.withdrawals == (Withdrawal(2, date(2024, 2, 3), "Withdrawn: see v1"),)
    (run,) = catalogue.runs()
    assert (run.job, run.counts, run.span, run.requests, run.retries) == ("snapshot", {"new": 1}, "", 0, 0)
    connection.close()
