"""What the user made, carried away and brought back; files of older and newer versions."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from kb.errors import NewerError, QueryError, SourceError, StoreError
from kb.library import LIBRARY_FILE, Choices, Entry, Library, LibraryFile, backup
from kb.library import database as library_file
from kb.store import Home
from kb.store.schema import _migrations, newest_schema

Kb = Callable[..., subprocess.CompletedProcess[str]]
BERT = Entry("arxiv:1810.04805", "BERT", remark="encoder", tags=("nlp",))
CONFIGURATION = 'categories = ["cs.CL"]\n'


@pytest.fixture
def library(home: Home) -> Library:
    """The library of a knowledge base with a list, a memory and a configuration."""
    library = Library(home.path / LIBRARY_FILE)
    library.create("Thesis")
    library.add("Thesis", [BERT])
    Choices(home.path / LIBRARY_FILE).dismiss(["1706.03762"])
    Choices(home.path / LIBRARY_FILE).citation_keys([("arxiv:1810.04805", "devlin2018bert")])
    home.configuration.write_text(CONFIGURATION)
    return library


def contents(home: Home) -> list[object]:
    """All that is the user's."""
    with sqlite3.connect(home.path / LIBRARY_FILE) as file:
        dump = list(file.iterdump())
    file.close()
    return [dump, home.configuration.read_text() if home.configuration.exists() else None]


def test_there_and_back(home: Home, library: Library, tmp_path: Path) -> None:
    before = contents(home)
    archive = tmp_path / "mine.zip"
    assert backup.back_up(home, archive) == ["config.toml", LIBRARY_FILE]
    other = Home(tmp_path / "another machine")
    done = backup.restore(other, archive)
    assert (done.restored, done.unchanged, done.newer, done.kept) == (("config.toml", LIBRARY_FILE), (), (), None)
    assert contents(other) == before
    again = backup.restore(other, archive)
    assert (again.restored, again.unchanged, again.kept) == ((), ("config.toml", LIBRARY_FILE), None)
    assert {path.name for path in other.path.iterdir()} <= {"config.toml", LIBRARY_FILE, f"{LIBRARY_FILE}.lock"}
    assert library.read_list("Thesis").entries[0].remark == "encoder"


def test_a_backup_overwrites_nothing(home: Home, library: Library, tmp_path: Path) -> None:  # noqa: ARG001
    archive = tmp_path / "mine.zip"
    backup.back_up(home, archive)
    data = archive.read_bytes()
    with pytest.raises(QueryError, match="exists already"):
        backup.back_up(home, archive)
    assert archive.read_bytes() == data
    with pytest.raises(QueryError, match="nothing to keep"):
        backup.back_up(Home(tmp_path / "empty"), tmp_path / "empty.zip")
    assert not (tmp_path / "empty.zip").exists()
    with pytest.raises(StoreError, match="cannot be written"):
        backup.back_up(home, tmp_path / "no such folder" / "mine.zip")


def test_newer_work_is_kept_and_said(home: Home, library: Library, tmp_path: Path, kb: Kb) -> None:
    archive = tmp_path / "mine.zip"
    backup.back_up(home, archive)
    old = contents(home)
    _move_back_an_hour(archive)
    library.add("Thesis", [Entry("arxiv:1706.03762", "Attention")])
    home.configuration.write_text("categories = []\n")
    new = contents(home)
    done = kb("restore", str(archive), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["restored"] == told["newer"] == ["config.toml", LIBRARY_FILE]
    assert contents(home) == old
    assert contents(Home(Path(told["kept"]))) == new
    assert library.read_list("Thesis").entries[-1].paper_id == BERT.paper_id  # who had it open goes on with the restored one


def _move_back_an_hour(archive: Path) -> None:
    """Make a backup an hour old, so that what is changed now is newer."""
    with zipfile.ZipFile(archive) as source:
        members = {name: source.read(name) for name in source.namelist()}
    made = json.loads(members["backup.json"])
    made["made"] = made["made"][:11] + "00:00:00" if made["made"][11:] > "00:00:05" else "2020-01-01T00:00:00"
    members["backup.json"] = json.dumps(made).encode()
    with zipfile.ZipFile(archive, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)


def test_a_damaged_library_is_moved_aside(home: Home, library: Library, tmp_path: Path) -> None:  # noqa: ARG001
    archive = tmp_path / "mine.zip"
    backup.back_up(home, archive)
    before = contents(home)
    (home.path / LIBRARY_FILE).write_bytes(b"no database" * 500)
    with pytest.raises(StoreError, match="No backup was made"):
        backup.back_up(home, tmp_path / "second.zip")
    done = backup.restore(home, archive)
    assert done.kept is not None
    assert (done.kept / LIBRARY_FILE).read_bytes() == b"no database" * 500
    assert contents(home) == before


@pytest.mark.parametrize("how", ["flipped", "truncated", "foreign file", "other form", "no zip", "missing", "folder"])
def test_an_archive_that_is_no_backup_changes_nothing(home: Home, library: Library, tmp_path: Path, how: str) -> None:  # noqa: ARG001
    archive = tmp_path / "mine.zip"
    backup.back_up(home, archive)
    home.configuration.write_text("categories = []\n")
    before = contents(home)
    data = archive.read_bytes()
    if how == "flipped":
        archive.write_bytes(data[:600] + bytes([data[600] ^ 4]) + data[601:])
    elif how == "truncated":
        archive.write_bytes(data[: len(data) // 2])
    elif how == "no zip":
        archive.write_bytes(b"PK no zip")
    elif how in {"missing", "folder"}:
        archive.unlink()
        if how == "folder":
            archive.mkdir()
    else:
        named = {"../evil": "0" * 64} if how == "foreign file" else ["library.sqlite"]
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("backup.json", json.dumps({"format": 1, "made": "2026-01-01T00:00:00", "files": named}))
            target.writestr("../evil", "x")
    with pytest.raises(SourceError, match=r"mine\.zip"):
        backup.restore(home, archive)
    assert contents(home) == before
    assert not home.backups.exists()
    assert not (tmp_path / "evil").exists()


# Older and newer files -------------------------------------------------------------------------------------------------


def older_catalogue(home: Home, schema: int) -> None:
    """Take the published catalogue back to an earlier schema, by applying only the first migrations to a new file."""
    folder = home.generations / home.current_name()
    path = folder / "catalogue.duckdb"
    path.unlink()
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE migrations (number INTEGER NOT NULL)")
    for number, sql in _migrations():
        if number <= schema:
            connection.execute(sql)
            connection.execute("INSERT INTO migrations VALUES (?)", [number])
    connection.execute(
        """INSERT INTO papers BY NAME SELECT nextval('paper_keys') AS key, 'arxiv:1810.04805' AS id,
           'BERT' AS title, 'bert' AS title_key, 'Encoders.' AS abstract, [] AS authors, ['cs.CL'] AS categories, '' AS comments,
           '' AS journal_ref, '' AS doi, '' AS licence, '' AS url, 2018 AS year, [] AS versions,
           true AS withdrawn, 'arxiv' AS origin"""
    )
    connection.execute(
        "INSERT INTO code_links BY NAME SELECT 'arxiv:1810.04805' AS paper_id, 'https://github.com/a/b' AS url, "
        "'comments' AS source"
    )
    connection.close()
    manifest = folder / "manifest.json"
    values = json.loads(manifest.read_text())
    for name in ("crc32", "checksums"):
        del values[name]
    files = {"catalogue.duckdb": path.stat().st_size}
    manifest.write_text(json.dumps(values | {"schema": schema, "papers": 1, "code_links": 1, "files": files}))


@pytest.mark.parametrize("schema", [number for number, _ in _migrations()[:-1]])
def test_an_older_catalogue_is_migrated_when_it_is_opened(home: Home, schema: int, caplog: pytest.LogCaptureFixture) -> None:
    with home.draft() as draft:
        draft.publish()
    older_catalogue(home, schema)
    older = (home.generations / "000001" / "catalogue.duckdb").read_bytes()
    generation = home.open()
    assert (generation.name, generation.manifest.schema, generation.manifest.papers) == ("000002", newest_schema(), 1)
    assert generation.catalogue.code_of(["arxiv:1810.04805"])["arxiv:1810.04805"][0].url == "https://github.com/a/b"
    assert generation.catalogue.withdrawn() == {1}
    generation.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"Bringing {home.path} to this version's form; the present one stays in {home.backups}."
    ]
    for _ in range(3):  # jobs go on; the old state is swept from the generations, and stays in the backups
        with home.draft() as draft:
            draft.publish()
    (kept,) = home.backups.iterdir()
    assert kept.name == f"schema-{schema}-generation-000001"
    assert (kept / "catalogue.duckdb").read_bytes() == older
    assert home.open().manifest.papers == 1
    assert list(home.backups.iterdir()) == [kept]


def test_a_migrated_catalogue_takes_no_more_room_than_a_new_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "the reader's own")  # what SQL would take for the end of a name
    with home.draft() as draft:
        draft.publish()
    older_catalogue(home, 5)
    path = home.generations / "000001" / "catalogue.duckdb"
    with duckdb.connect(str(path)) as older:
        older.execute(
            """INSERT INTO papers SELECT papers.* REPLACE (nextval('paper_keys') AS key, 'arxiv:' || (1000 + i // 10000) || '.' ||
                   (10000 + i % 90000) AS id, md5(i::VARCHAR) || md5((-i)::VARCHAR) AS abstract,
                   [{'family': md5((i // 2)::VARCHAR), 'given': 'A.', 'suffix': ''}] AS authors)
               FROM papers, range(60000) AS numbers(i)"""
        )
        rows = older.execute("SELECT * FROM papers ORDER BY key").fetchall()
    manifest = home.generations / "000001" / "manifest.json"
    sizes = {"catalogue.duckdb": path.stat().st_size}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"files": sizes}))
    home.open().close()
    migrated = home.generations / "000002" / "catalogue.duckdb"
    with duckdb.connect(str(migrated), read_only=True) as newer:
        free, total = newer.execute("SELECT free_blocks, total_blocks FROM pragma_database_size()").fetchall()[0]
        assert free < total / 10, "the room of the table before is still there"
        assert newer.execute("SELECT * FROM papers ORDER BY key").fetchall() == rows
        stored = newer.execute(
            """SELECT column_name, list(DISTINCT compression ORDER BY compression) FROM pragma_storage_info('papers')
               WHERE column_name IN ('title', 'authors', 'comments', 'doi') AND segment_type = 'VARCHAR'
               GROUP BY ALL ORDER BY ALL"""
        ).fetchall()
    assert dict(stored)["authors"] == ["Uncompressed"], "or ten papers bring all names along"
    assert dict(stored)["title"] != ["Uncompressed"]
    with home.draft() as draft:  # keys go on behind those that there are
        assert draft.catalogue.connection.write("SELECT nextval('paper_keys'), title_key('É a')") == [(60_002, "ea")]


def test_an_older_catalogue_is_migrated_by_the_next_job(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()
    older_catalogue(home, 1)
    with home.draft() as draft:
        draft.publish()
    assert [path.name for path in home.backups.iterdir()] == ["schema-1-generation-000001"]
    assert home.open().manifest.papers == 1


def test_a_newer_catalogue_is_refused_by_readers_and_jobs(home: Home, kb: Kb) -> None:
    with home.draft() as draft:
        draft.catalogue.connection.write("INSERT INTO migrations VALUES (999)")
        draft.publish()
    with pytest.raises(NewerError, match="newer version"), home.draft():
        pass
    manifest = home.generations / "000001" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 999, "more": "of a later time"}))
    for command in (["search", "x"], ["index"], ["doctor", "--repair"]):
        done = kb(*command)
        assert done.returncode == 1
        assert "newer version" in done.stderr
    assert [path.name for path in home.generations.iterdir()] == ["000001"]


def test_an_older_library_is_kept_before_it_is_migrated(home: Home, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    before = library.read_list("Thesis")
    schema = len(library_file._MIGRATIONS)
    # The next version's program has one more migration.
    added = "ALTER TABLE lists ADD COLUMN colour TEXT NOT NULL DEFAULT '';"
    monkeypatch.setattr(library_file, "_MIGRATIONS", (*library_file._MIGRATIONS, added))
    assert Library(home.path / LIBRARY_FILE).read_list("Thesis") == before
    kept = home.backups / f"library-schema-{schema}.sqlite"
    with sqlite3.connect(home.path / LIBRARY_FILE) as file, sqlite3.connect(kept) as old:
        assert file.execute("PRAGMA user_version").fetchone() == (schema + 1,)
        assert file.execute("SELECT colour FROM lists").fetchall() == [("",)]
        assert old.execute("PRAGMA user_version").fetchone() == (schema,)
        assert old.execute("SELECT title FROM entries").fetchall() == [("BERT",)]
    file.close()
    old.close()


def test_a_backup_of_a_newer_version_is_refused(home: Home, library: Library, tmp_path: Path) -> None:  # noqa: ARG001
    with sqlite3.connect(home.path / LIBRARY_FILE) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(NewerError):
        backup.back_up(home, tmp_path / "mine.zip")
    assert not (tmp_path / "mine.zip").exists()


# Hostile and damaged ---------------------------------------------------------------------------------------------------


def packed(archive: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return archive


def told(files: dict[str, str], made: str = "2026-01-02T03:04:05") -> bytes:
    return json.dumps({"format": 1, "made": made, "files": files}).encode()


BOMB = bytes((256 << 20) + 1)


@pytest.mark.parametrize("how", ["deep", "zone", "bomb", "encrypted", "garbled lzma", "other form of sums"])
def test_an_archive_made_to_break_its_reader_is_refused(home: Home, library: Library, tmp_path: Path, how: str) -> None:  # noqa: ARG001
    before = contents(home)
    archive = tmp_path / "mine.zip"
    match how:
        case "deep":
            packed(archive, {"backup.json": b"[" * 200_000})
        case "zone":  # a time with a zone cannot be compared with one without
            packed(archive, {"backup.json": told({}, "2026-01-02T03:04:05+00:00")})
        case "bomb":
            packed(archive, {"backup.json": told({"config.toml": "0"}), "config.toml": BOMB})
            assert archive.stat().st_size < 1 << 20
        case "encrypted":
            packed(archive, {"backup.json": told({})})
            data = bytearray(archive.read_bytes())
            for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                data[data.index(header) + flags] |= 1
            archive.write_bytes(data)
        case "garbled lzma":
            packed(archive, {"backup.json": told({})}, zipfile.ZIP_LZMA)
            data = bytearray(archive.read_bytes())
            data[50:60] = bytes(255 - byte for byte in data[50:60])
            archive.write_bytes(data)
        case "other form of sums":
            packed(
                archive,
                {"backup.json": b'{"format": 1, "made": "2026-01-02T03:04:05", "files": {"config.toml": 5}}', "config.toml": b""},
            )
    with pytest.raises(SourceError, match=r"is no backup that can be read|is not what was backed up"):
        backup.restore(home, archive)
    assert contents(home) == before


def test_a_backup_made_while_lists_are_edited_is_of_one_moment(home: Home, tmp_path: Path) -> None:
    """Every edit puts as many papers on one list as on the other; so has every backup."""
    library = Library(home.path / LIBRARY_FILE)
    for name in ("One", "Other"):
        library.create(name)
    done = threading.Event()

    def edit() -> None:
        for number in range(1, 60):
            with LibraryFile(home.path / LIBRARY_FILE).writing() as file:
                for at in (1, 2):
                    file.execute(
                        "INSERT INTO entries (list, paper_id, position, title, authors, venue, remark, tags, added) "
                        "VALUES (?, ?, ?, 'T', '[]', '', '', '[]', '2026-01-01T00:00:00')",
                        [at, f"arxiv:2001.{number:05d}", number],
                    )
        done.set()

    editor = threading.Thread(target=edit)
    editor.start()
    made = 0
    while not done.is_set() or not made:
        archive = tmp_path / f"{made}.zip"
        backup.back_up(home, archive)
        made += 1
        restored = Home(tmp_path / f"restored {made}")
        backup.restore(restored, archive)
        one, other = Library(restored.path / LIBRARY_FILE).lists()
        assert one.papers == other.papers
    editor.join()
    assert [summary.papers for summary in library.lists()] == [59, 59]


# What a library can be --------------------------------------------------------------------------------------------------


def test_an_empty_library_is_a_damaged_one(home: Home, library: Library) -> None:
    archive = home.path.parent / "mine.zip"
    backup.back_up(home, archive)
    before = contents(home)
    (home.path / LIBRARY_FILE).write_bytes(b"")
    with pytest.raises(StoreError, match=r"is damaged \(it is empty\)"):
        library.lists()
    backup.restore(home, archive)
    assert contents(home) == before


def test_a_link_to_a_library_that_is_not_there_is_told(home: Home, library: Library, tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "drive" / "mine.sqlite", home.path / LIBRARY_FILE
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = [summary.name for summary in library.lists()]
    assert before
    elsewhere.rename(tmp_path / "away")
    for ask in (library.lists, lambda: library.create("New")):
        with pytest.raises(StoreError, match=r"is a link to .*mine\.sqlite, which is not there"):
            ask()
    (tmp_path / "away").rename(elsewhere)
    library.create("New")
    assert [summary.name for summary in library.lists()] == [*before, "New"]
    assert path.is_symlink()
