"""The user's own file: lists, order, remarks, removal and undo, two processes at once, a killed one."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ingest.jobs.configuration import follow
from kb.errors import QueryError, StoreError
from kb.jobs.uploads import save_upload
from kb.library import LIBRARY_FILE, Choices, Entry, Library
from kb.library.backup import back_up
from kb.papers import Author, Paper
from kb.store import Home

ATTENTION = Entry("arxiv:1706.03762", "Attention Is All You Need", (Author("Vaswani", "Ashish"), Author("Shazeer", "Noam")), 2017)
BERT = Entry("arxiv:1810.04805", "BERT", (Author("Devlin", "Jacob"),), 2018, remark="encoder", tags=("nlp", "classic"))
BOOK = Entry("doi:10.1162/neco.1991.3.1.79", "Adaptive Mixtures of Local Experts")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kb" / "library.sqlite"


@pytest.fixture
def library(file: Path) -> Library:
    library = Library(file)
    library.create("Thesis")
    library.add("Thesis", [ATTENTION, BERT, BOOK])
    return library


def ids(library: Library, name: str = "Thesis") -> list[str]:
    return [entry.paper_id for entry in library.read_list(name).entries]


def test_reading_makes_no_file(file: Path) -> None:
    assert Library(file).lists() == []
    assert Library(file).paper_ids() == []
    assert Choices(file).dismissed() == []
    with pytest.raises(QueryError, match="There is no list 'Thesis'"):
        Library(file).read_list("Thesis")
    assert not file.exists()


def test_a_list_keeps_its_order_and_all_that_is_noted(library: Library) -> None:
    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    found = library.read_list("thesis")  # names are without regard to case
    assert found.name == "Thesis"
    assert [e.paper_id for e in found.entries] == [ATTENTION.paper_id, BERT.paper_id, BOOK.paper_id]
    second = found.entries[1]
    assert (second.title, second.authors, second.year) == ("BERT", (Author("Devlin", "Jacob"),), 2018)
    assert (second.remark, second.tags, second.read) == ("encoder", ("classic", "nlp"), None)
    assert second.added is not None
    assert abs((before - second.added).total_seconds()) < 60
    (summary,) = library.lists()
    assert (summary.name, summary.papers, summary.unread) == ("Thesis", 3, 3)


def test_a_paper_is_on_a_list_once(library: Library) -> None:
    assert library.add("Thesis", [Entry(BERT.paper_id, "Another title"), Entry("arxiv:2005.14165", "GPT-3")]) == 1
    assert library.add("Thesis", [BERT, BERT]) == 0
    assert [e.title for e in library.read_list("Thesis").entries][1::2] == ["BERT", "GPT-3"]


def test_marking(library: Library) -> None:
    assert library.mark("Thesis", [BERT.paper_id, BOOK.paper_id], read=True, tags=["x"]) == 2
    read_on = library.read_list("Thesis").entries[1].read
    assert read_on is not None
    library.mark("Thesis", ["https://arxiv.org/pdf/1810.04805v2"], read=True, remark="", untag=["nlp"])
    entry = library.read_list("Thesis").entries[1]
    assert (entry.read, entry.remark, entry.tags) == (read_on, "", ("classic", "x"))
    library.mark("Thesis", [BERT.paper_id], read=False)
    assert library.read_list("Thesis").entries[1].read is None
    assert library.mark("Thesis", ["arxiv:2005.14165"], read=True) == 0


@pytest.mark.parametrize(("place", "order"), [(1, [2, 0, 1]), (2, [0, 2, 1]), (99, [0, 1, 2])])
def test_moving(library: Library, place: int, order: list[int]) -> None:
    before = ids(library)
    library.move("Thesis", BOOK.paper_id, place)
    assert ids(library) == [before[i] for i in order]
    with pytest.raises(QueryError, match="not on 'Thesis'"):
        library.move("Thesis", "arxiv:2005.14165", 1)


def test_removals_are_taken_back_one_after_the_other(library: Library) -> None:
    everything = library.read_list("Thesis")
    assert library.remove("Thesis", [BERT.paper_id, "arxiv:2005.14165"]) == 1
    assert ids(library) == [ATTENTION.paper_id, BOOK.paper_id]
    library.delete("Thesis")
    assert library.lists() == []
    assert library.undo() == "list 'Thesis' deleted"
    assert library.undo() == "1 taken off 'Thesis'"
    assert library.read_list("Thesis") == everything
    assert library.undo() == ""


def test_a_certain_removal_is_taken_back(library: Library) -> None:
    assert library.last_removal() is None
    library.remove("Thesis", [BERT.paper_id])
    first = library.last_removal()
    assert first is not None
    assert first.what == "1 taken off 'Thesis'"
    library.remove("Thesis", [BOOK.paper_id])  # by somebody else, before the first was taken back
    assert library.undo(first.number) == "1 taken off 'Thesis'"
    assert ids(library) == [ATTENTION.paper_id, BERT.paper_id]
    assert library.undo(first.number) == ""
    library.undo()
    assert len(ids(library)) == 3


def test_a_list_is_renamed_with_all_that_is_on_it(library: Library) -> None:
    before = library.read_list("Thesis").entries
    library.create("Other")
    library.rename("thesis", " Doctoral  thesis ")
    assert [x.name for x in library.lists()] == ["Doctoral thesis", "Other"]
    assert library.read_list("doctoral thesis").entries == before
    library.rename("Doctoral thesis", "DOCTORAL THESIS")  # the same name in other letters is free
    with pytest.raises(QueryError, match="There is a list 'other' already"):
        library.rename("Doctoral thesis", "other")
    with pytest.raises(QueryError, match="can be no list's name"):
        library.rename("Other", " ")
    with pytest.raises(QueryError, match="There is no list 'Thesis'"):
        library.rename("Thesis", "Again")


def test_which_lists_a_paper_is_on(library: Library, file: Path) -> None:
    library.create("Other")
    library.add("Other", [BERT])
    assert library.lists_with([BERT.paper_id]) == ["Thesis", "Other"]
    assert library.lists_with([BOOK.paper_id, BERT.paper_id]) == ["Thesis", "Other"]
    library.remove("Thesis", [BERT.paper_id])
    assert library.lists_with([BERT.paper_id]) == ["Other"]
    library.delete("Other")
    assert library.lists_with([BERT.paper_id]) == []
    assert Library(file.with_name("none.sqlite")).lists_with([BERT.paper_id]) == []


def test_undo_overwrites_nothing(library: Library) -> None:
    library.remove("Thesis", [BERT.paper_id])
    library.add("Thesis", [Entry(BERT.paper_id, "BERT", remark="again")])
    library.undo()
    assert [e.remark for e in library.read_list("Thesis").entries if e.paper_id == BERT.paper_id] == ["again"]
    library.delete("Thesis")
    library.create("THESIS")
    with pytest.raises(QueryError, match="There is a new list 'Thesis'"):
        library.undo()
    assert [x.papers for x in library.lists()] == [0]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x00b", "\u202egnp"])
def test_names_that_no_list_can_have(library: Library, name: str) -> None:
    with pytest.raises(QueryError, match="can be no list's name"):
        library.create(name)


def test_a_name_is_taken_once(library: Library) -> None:
    with pytest.raises(QueryError, match="There is a list 'thesis' already"):
        library.create("thesis")


def test_all_papers_each_once(library: Library) -> None:
    library.create("Other")
    library.add("Other", [BERT, Entry("arxiv:2005.14165", "GPT-3")])
    assert library.paper_ids() == [ATTENTION.paper_id, BERT.paper_id, BOOK.paper_id, "arxiv:2005.14165"]
    library.delete("Other")
    assert library.paper_ids() == [ATTENTION.paper_id, BERT.paper_id, BOOK.paper_id]


def test_citation_keys_stay_with_their_papers(file: Path) -> None:
    choices = Choices(file)
    wished = [("arxiv:2", "li2020deep"), ("arxiv:1", "li2020deep")]
    assert choices.citation_keys(wished, remember=False) == {"arxiv:2": "li2020deep", "arxiv:1": "li2020deep-2"}
    assert not file.exists()
    assert choices.citation_keys([("arxiv:1", "li2020deep"), ("arxiv:2", "li2020deep")]) == {
        "arxiv:1": "li2020deep",
        "arxiv:2": "li2020deep-2",
    }
    # Asked again in another order, with other wishes and company: the same.
    assert choices.citation_keys([("arxiv:3", "LI2020deep"), ("arxiv:2", "wang2021"), ("arxiv:1", "x")]) == {
        "arxiv:3": "LI2020deep-3",
        "arxiv:2": "li2020deep-2",
        "arxiv:1": "li2020deep",
    }
    assert choices.citation_keys([("arxiv:4", "li2020deep"), ("arxiv:2", "x")], remember=False) == {
        "arxiv:4": "li2020deep-4",
        "arxiv:2": "li2020deep-2",
    }


def test_what_was_recommended_counts_from_the_day_after(file: Path) -> None:
    choices = Choices(file)
    choices.record_recommended("Thesis", ["arxiv:1706.03762"], date(2025, 10, 1))
    choices.record_recommended("Thesis", ["arxiv:1706.03762", "arxiv:1810.04805"], date(2025, 10, 2))
    assert choices.recommended_before("thesis", date(2025, 10, 1)) == []
    assert choices.recommended_before("thesis", date(2025, 10, 2)) == ["arxiv:1706.03762"]
    assert choices.recommended_before("thesis", date(2025, 10, 3)) == ["arxiv:1706.03762", "arxiv:1810.04805"]
    assert choices.recommended_before("", date(2025, 10, 3)) == []
    choices.dismiss(["1810.04805v2", "1810.04805"])
    assert choices.dismissed() == ["arxiv:1810.04805"]


def test_entry_of_a_paper() -> None:
    paper = Paper("arxiv:1706.03762", "Attention", authors=(Author("Vaswani"),), year=2017)
    assert Entry.of(paper, "why", ["a"]) == Entry(paper.id, "Attention", (Author("Vaswani"),), 2017, "", "why", ("a",))


# Files that are not as they should be --------------------------------------------------------------------------------


def test_a_newer_file_is_refused(file: Path, library: Library) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer version"):
        Library(file).lists()
    assert library.lists()  # whoever had it open goes on


def test_a_damaged_file_is_refused_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="is damaged"):
        Library(file).lists()
    assert file.read_bytes() == b"no database" * 1000


# Other processes -------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from kb.errors import QueryError
from kb.library import Entry, Library
library = Library(Path(sys.argv[1]))
first, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + count):
    identifier = f"arxiv:2001.{number:05d}"
    library.add("Thesis", [Entry(identifier, f"Paper {number}")])
    library.mark("Thesis", [identifier], read=True, remark=f"remark {number}", tags=[f"t{first}"])
    if number % 5 == 0:
        library.remove("Thesis", [identifier])
    print(number, flush=True)
"""


def writer(file: Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_and_nothing_is_lost(file: Path) -> None:
    Library(file).create("Thesis")
    writers = [writer(file, 1, 60), writer(file, 101, 60)]
    reader = Library(file)
    while any(w.poll() is None for w in writers):
        for entry in reader.read_list("Thesis").entries:  # never half an entry
            assert entry.title == f"Paper {int(entry.paper_id[-5:])}"
    assert [w.communicate()[0].count("\n") for w in writers] == [60, 60]
    assert [w.returncode for w in writers] == [0, 0]
    found = {int(e.paper_id[-5:]): e for e in reader.read_list("Thesis").entries}
    wanted = [n for n in [*range(1, 61), *range(101, 161)] if n % 5]
    assert sorted(found) == wanted
    assert all(found[n].read and found[n].remark == f"remark {n}" for n in wanted)
    assert {found[n].tags for n in wanted} == {("t1",), ("t101",)}


def test_two_processes_make_the_file_at_once(file: Path) -> None:
    make = "import sys; from pathlib import Path; from kb.library import Library; Library(Path(sys.argv[1])).create(sys.argv[2])"
    makers = [subprocess.Popen([sys.executable, "-c", make, str(file), f"list {n}"]) for n in range(4)]
    assert [m.wait() for m in makers] == [0] * 4
    assert sorted(x.name for x in Library(file).lists()) == [f"list {n}" for n in range(4)]


def test_a_killed_process_loses_nothing_it_had_done(file: Path) -> None:
    Library(file).create("Thesis")
    for turn in range(4):
        process = writer(file, turn * 1000 + 1, 900)
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done = int(line)
            if done % 1000 >= 7 + turn:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].split()
        done = int(rest[-1]) if rest else done
        found = {int(e.paper_id[-5:]): e for e in Library(file).read_list("Thesis").entries}
        wanted = [n for n in range(turn * 1000 + 1, done + 1) if n % 5]
        assert set(wanted) <= set(found)
        assert all(found[n].remark == f"remark {n}" and found[n].read for n in wanted)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_is_the_users_own_is_for_the_user_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        home = Home(tmp_path / "new" / "kb")
        Library(home.path / LIBRARY_FILE).create("Thesis")
        follow(home, ["cs.CL"])
        upload = save_upload(home, "notes.md", b"text")
        back_up(home, tmp_path / "mine.zip")
    finally:
        os.umask(before)
    files = (home.path / LIBRARY_FILE, home.configuration, upload, tmp_path / "mine.zip")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {path.name: 0o600 for path in files}
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    with closing(sqlite3.connect(home.path / LIBRARY_FILE)) as elsewhere:
        elsewhere.execute("SELECT * FROM lists").fetchall()
        Library(home.path / LIBRARY_FILE).create("Other")
        beside = list(home.path.glob(f"{LIBRARY_FILE}-*"))
        assert len(beside) == 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in beside} == {0o600}


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "kb").mkdir(mode=0o750)
    Library(tmp_path / "kb" / LIBRARY_FILE).create("Thesis")
    assert stat.S_IMODE((tmp_path / "kb").stat().st_mode) == 0o750
