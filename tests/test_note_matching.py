"""Notes without a title: they find their paper, are offered one, or stay alone; and the user's word stands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from ingest.jobs.run import run_index, run_match, run_notes, run_snapshot
from kb.cli import main
from kb.encode.encoder import Encoder
from kb.insights.map_layout import MapLayout
from kb.papers import Author
from kb.search.note_matching import MATCH_CONFIDENCE, Agreement, confidences, is_author
from kb.store import Home, NoteMatch

SURE = "By Ada Byron, Carl Weiss et al."
ABSTRACT = (
    "Cars stand idle most of the time. We show that volunteers can train a large language model together over slow and "
    "unreliable connections, by averaging gradients in groups that change from step to step."
)
NOTES = """# Papers of July

What we liked to read this month, once more without any titles. Enjoy!

{sure}

❓Why → Cars spend their lifetime parked. Volunteers in an open collaboration train a large language
model by distributed learning.

💡Key insights → Gradients are averaged in groups that change from step to step, over slow and unreliable connections.

By Eva Unknown et al.

❓Why → {doubtful}

💡Key insights → {more}
"""
TITLED = """# Papers

## Sorting with transformers

By Gail Example, Yoav Other and Eran Third.

❓Why → {doubtful}

💡Key insights → {more}
"""
DOUBTFUL = "Programs written for restricted access to sequences explain what a transformer can compute at all."
MORE = "Sorting, histograms and reversal are written as programs, and attention heads are counted for each of them."


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(home: Home, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["--home", str(home.path), *arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def standing(home: Home) -> list[tuple[str, str]]:
    generation = home.open()
    try:
        return [(m.paper_id, m.status) for m in generation.catalogue.notes.matches()]
    finally:
        generation.close()


def notes_on(home: Home, identifier: str) -> int:
    generation = home.open()
    try:
        return len(generation.catalogue.notes.on([identifier]).get(identifier, ()))
    finally:
        generation.close()


def assert_map_is_current(home: Home) -> None:
    """Every paper of the catalogue has its place, and no paper that is gone."""
    generation = home.open()
    try:
        layout = MapLayout.of(generation)
        assert layout is not None
        assert set(layout.keys.tolist()) == set(generation.catalogue.identifiers())
    finally:
        generation.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """A knowledge base of thirty papers and a newsletter, `notes.md`, that has lost its titles."""
    folder = tmp_path_factory.mktemp("built")
    people = {"authors": "Ada Byron, Carl Weiss, Eva Sun", "authors_parsed": [["Byron", "Ada", ""], ["Weiss", "Carl", ""]]}
    own = record(2, title="Distributed learning in open collaborations", abstract=ABSTRACT, **people)
    records = [record(0), record(1), own, *(record(n) for n in range(3, 30))]
    (folder / "snapshot.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "notes.md").write_text(NOTES.format(sure=SURE, doubtful=DOUBTFUL, more=MORE))
    run_snapshot(Home(folder / "kb"), [folder / "snapshot.jsonl"])
    run_notes(Home(folder / "kb"), [folder / "notes.md"])
    run_index(Home(folder / "kb"), encoder)
    return folder


@pytest.fixture
def stocked(built: Path, home: Home) -> Home:
    shutil.copytree(built / "kb", home.path)
    return home


OWN = f"arxiv:{record(2)['id']}"


def test_authors_and_text_find_the_paper(stocked: Home, built: Path, encoder: Encoder) -> None:
    assert standing(stocked) == [(OWN, "made")]
    assert notes_on(stocked, OWN) == 1
    generation = stocked.open()
    titles = {p.title for p in generation.catalogue.papers(list(generation.catalogue.identifiers())).values()}
    generation.close()
    assert "Untitled paper by Eva Unknown" in titles
    assert "Untitled paper by Ada Byron, Carl Weiss" not in titles
    assert_map_is_current(stocked)
    # Read again, with nothing embedded anew, the match stays.
    run_notes(stocked, [built / "notes.md"])
    assert (standing(stocked), notes_on(stocked, OWN)) == ([(OWN, "made")], 1)
    before = stocked.current_name()
    run_index(stocked, encoder)
    assert int(stocked.current_name()) == int(before) + 1  # the index alone: nothing changed of the matches


def test_a_note_that_another_document_gives_with_its_title(stocked: Home, tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "titled.md").write_text(TITLED.format(doubtful=DOUBTFUL, more=MORE))
    run_notes(stocked, [tmp_path / "titled.md"])
    run_index(stocked, encoder)
    (titled,) = [paper for paper, _ in standing(stocked) if paper != OWN]
    assert (titled, "made") in standing(stocked)
    assert notes_on(stocked, titled) == 2
    generation = stocked.open()  # which reads otherwise with two notes, and is embedded as it reads now
    assert generation.manifest.embedded == generation.manifest.papers == 31
    generation.close()


def test_a_doubtful_match_is_offered_and_not_made(stocked: Home, tmp_path: Path, encoder: Encoder, command: Command) -> None:
    vague = (
        "Cars spend their lifetime parked. This paper shows how volunteers can train a large language model together.\n\n"
        "💡Key insights → Gradients are averaged in groups that change from step to step, over slow and unreliable connections."
    )
    (tmp_path / "vague.md").write_text(f"What we liked, again.\n\n{SURE}\n\n❓Why → {vague}\n")
    run_notes(stocked, [tmp_path / "vague.md"])
    run_index(stocked, encoder)
    assert sorted(standing(stocked)) == [(OWN, "made"), (OWN, "offered")]
    assert notes_on(stocked, OWN) == 1
    assert "1 notes without a title may be about papers that are here: `kb match` lists them." in command("status")[2]


def test_the_users_word_stands(stocked: Home, built: Path, encoder: Encoder) -> None:
    generation = stocked.open()
    sure, other = generation.catalogue.notes.untitled()
    generation.close()
    assert (sure.authors, other.authors) == (("Ada Byron", "Carl Weiss"), ("Eva Unknown",))
    first = f"arxiv:{record(0)['id']}"
    run_match(stocked, other.id, first)
    run_match(stocked, sure.id, "")
    assert sorted(standing(stocked)) == [("", "refused"), (first, "accepted")]
    assert (notes_on(stocked, first), notes_on(stocked, OWN)) == (1, 0)
    assert_map_is_current(stocked)
    run_notes(stocked, [built / "notes.md"])
    run_index(stocked, encoder)
    assert (notes_on(stocked, first), notes_on(stocked, OWN)) == (1, 0)
    # A catalogue made anew from its sources follows what was said before.
    with stocked.draft() as draft:
        draft.catalogue.notes.keep_matches([])
        draft.catalogue.notes.settle()
        draft.publish()
    assert notes_on(stocked, first) == 0
    run_index(stocked, encoder)
    assert (notes_on(stocked, first), notes_on(stocked, OWN)) == (1, 0)
    run_match(stocked, sure.id, OWN)
    assert notes_on(stocked, OWN) == 1


def test_a_match_whose_paper_is_gone_leaves_the_note_alone(stocked: Home) -> None:
    with stocked.draft() as draft:
        (note, *_) = draft.catalogue.notes.untitled()
        draft.catalogue.notes.keep_matches([NoteMatch(note.id, "arxiv:2001.00001", 0.95, "made")])
        draft.catalogue.notes.settle()
        assert draft.catalogue.key_of(note.id) is not None
        assert draft.catalogue.notes.on([note.id])[note.id][0].authors == ("Ada Byron", "Carl Weiss")


def test_the_command(stocked: Home, command: Command) -> None:
    rows = json.loads(command("match", "--json")[1])
    assert [[(m["id"], m["standing"]) for m in row["matches"]] for row in rows] == [[(OWN, "made")], []]
    listed = command("match")[1].splitlines()
    assert listed[0] == f"{rows[0]['id']}  by Ada Byron, Carl Weiss"
    assert listed[3].endswith(f"Distributed learning in open collaborations  {OWN}")
    assert listed[-1] == "     no paper in the knowledge base is like it"
    code, _, said = command("match", rows[1]["id"], "2001.99999")
    assert (code, "is not in the knowledge base" in said) == (2, True)
    assert command("match", "url:note:0", "none")[0] == 2
    assert command("match", rows[1]["id"])[0] == 2
    assert command("match", rows[1]["id"], rows[1]["id"])[0] == 2
    assert command("match", rows[1]["id"].rpartition(":")[2], record(0)["id"])[0] == 0
    assert notes_on(stocked, f"arxiv:{record(0)['id']}") == 1


def test_confidence_is_shared_among_candidates() -> None:
    sure = Agreement(0.75, 0.9, 0.5, 2, 0)
    (alone,) = confidences([sure])
    twins = confidences([sure, sure])
    assert alone > MATCH_CONFIDENCE
    assert twins[0] == twins[1] < 0.5
    assert confidences([Agreement(0.75, 0.9, 0.5, 0, 2)])[0] < 0.5  # other people's names
    assert confidences([Agreement(0.2, 0.1, 0.1, 0, 0)])[0] < 0.001
    assert np.isfinite(confidences([Agreement(1.0, 1.0, 1.0, 40, 0)])).all()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Darius Rückert", True),
        ("D. Ruckert", True),
        ("Rückert", True),
        ("Franz Rückert", False),
        ("Darius Stamminger", False),
    ],
)
def test_names_with_accents_and_initials(name: str, found: bool) -> None:
    assert is_author(name, (Author("Stamminger", "Marc"), Author("Rückert", "Darius"))) is found
