"""The checkup: every kind of file, damaged in every way, is named, and mended where it can be made again."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from ingest.jobs.run import run_index, run_notes, run_snapshot
from kb.doctor import Finding, Part, examine, repair
from kb.encode.encoder import Encoder
from kb.encode.vector_store import VectorStore
from kb.errors import StoreError
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.library import LIBRARY_FILE, Entry, Library
from kb.progress import NoProgress
from kb.search.searcher import Searcher
from kb.store import Home, StagedPapers

Kb = Callable[..., subprocess.CompletedProcess[str]]
PAPERS = 40


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """A knowledge base with two generations of the same papers, a note, a list and a configuration."""
    folder = tmp_path_factory.mktemp("sound")
    home = Home(folder / "kb")
    snapshot = folder / "snapshot.jsonl"
    snapshot.write_text("".join(json.dumps(record(i)) + "\n" for i in range(PAPERS)))
    notes = folder / "notes.md"
    notes.write_text("- [A paper of the series](https://arxiv.org/abs/1502.00002) – worth a second look\n")
    run_snapshot(home, [snapshot])
    run_notes(home, [notes])
    run_index(home, encoder)
    run_index(home, encoder)
    Library(home.path / LIBRARY_FILE).create("Thesis")
    Library(home.path / LIBRARY_FILE).add("Thesis", [Entry("arxiv:1502.00002", "Speech recognition")])
    home.configuration.write_text('categories = ["cs.CL"]\n')
    return home.path


@pytest.fixture
def damaged(sound: Path, home: Home) -> Home:
    """A copy to be damaged."""
    shutil.copytree(sound, home.path)
    return home


@pytest.fixture
def load(encoder: Encoder) -> Callable[[str], Encoder]:
    return lambda _: encoder


def answers(home: Home, encoder: Encoder) -> list[tuple[str, float]]:
    with Searcher.open(home, encoder) as searcher:
        hits = [*searcher.search("speech recognition with few labels", 10), *searcher.like(["1502.00002"], k=5)]
        return [(hit.paper.id, round(hit.score, 4)) for hit in hits]


def the_users(home: Home) -> list[bytes]:
    """What no repair may touch, byte by byte."""
    return [(home.path / LIBRARY_FILE).read_bytes(), home.configuration.read_bytes()]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) * 2 // 3])
    else:
        at = len(data) // 2
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])


def faults(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.is_fault]


def test_a_sound_one_has_no_findings(damaged: Home, load: Callable[[str], Encoder]) -> None:
    before = {path: path.read_bytes() for path in damaged.path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert examine(damaged, load) == []
    after = {path: path.read_bytes() for path in damaged.path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert {p: d for p, d in after.items() if "-wal" not in p.name and "-shm" not in p.name} == before  # looking changes nothing


HOWS = ("flipped", "truncated", "deleted")


@pytest.mark.parametrize(
    ("pattern", "part", "how"),
    [
        *(("CURRENT", Part.POINTER, how) for how in HOWS),
        *(("generations/*4/manifest.json", Part.MANIFEST, how) for how in HOWS),
        *(("generations/*4/catalogue.duckdb", Part.CATALOGUE, how) for how in HOWS),
        *(("generations/*4/dense.faiss", Part.INDEX, how) for how in HOWS),
        ("generations/*4/atlas.npz", Part.INDEX, "flipped"),
        ("generations/*4/lexical/documents-*.npy", Part.INDEX, "truncated"),
        ("generations/*4/lexical/meta.json", Part.INDEX, "deleted"),
        ("generations/*4/lexical/*.store", Part.INDEX, "flipped"),
        ("generations/*4/lexical/*.term", Part.INDEX, "flipped"),
        *(("vectors/*/*.vectors.npy", Part.VECTORS, how) for how in HOWS),
        *(("vectors/*/*.digests.npy", Part.VECTORS, how) for how in HOWS),
    ],
)
def test_a_damaged_file_is_named_and_mended(
    damaged: Home, encoder: Encoder, load: Callable[[str], Encoder], pattern: str, part: Part, how: str
) -> None:
    before, own = answers(damaged, encoder), the_users(damaged)
    path = sorted(damaged.path.glob(pattern))[0]
    damage(path, how)
    found = faults(examine(damaged, load))
    named = path.relative_to(damaged.path).as_posix()
    partner = named.replace("digests", "vectors")  # without its digests it is the file of vectors that is of no use
    assert part in {finding.part for finding in found}
    assert {finding.place for finding in found} & {named, partner, partner.replace("vectors.npy", "digests.npy")}
    assert all("kb doctor --repair" in finding.remedy for finding in found)
    assert repair(damaged, found, load, NoProgress())
    assert examine(damaged, load) == []
    assert answers(damaged, encoder) == before
    assert the_users(damaged) == own


def test_an_older_manifest_without_checksums_is_read(damaged: Home, load: Callable[[str], Encoder]) -> None:
    path = damaged.generations / damaged.current_name() / "manifest.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in values.items() if name not in {"checksums", "crc32"}}))
    assert examine(damaged, load) == []
    flip = next(damaged.path.glob("generations/*4/dense.faiss"))
    damage(flip, "truncated")
    assert [finding.part for finding in examine(damaged, load)] == [Part.INDEX]


def test_indexes_and_vectors_that_are_whole_but_wrong(damaged: Home, encoder: Encoder, load: Callable[[str], Encoder]) -> None:
    """Files that fit their checksums and yet do not say what the catalogue says: only brute force finds that out."""
    with damaged.draft() as draft:
        dense = DenseIndex.read(draft.folder / DENSE_FILE)
        keys = dense.keys()
        DenseIndex.build(keys, np.roll(dense.vectors(keys), 1, axis=0)).write(draft.folder / DENSE_FILE)
        draft.publish()
    (finding,) = examine(damaged, load)
    assert (finding.part, finding.place) == (Part.INDEX, f"generations/000005/{DENSE_FILE}")
    assert "nearest papers that an exact search finds" in finding.problem
    repair(damaged, [finding], load, NoProgress())
    assert examine(damaged, load) == []
    with damaged.draft() as draft:  # a paper whose text changed behind the indexes' back
        staged = StagedPapers(draft.catalogue)
        staged.begin()
        staged.stage([replace(draft.catalogue.papers([1])[1], abstract="Something else entirely.", updated=None)])
        staged.merge()
        draft.publish()
    assert {(f.part, f.place) for f in examine(damaged, load)} == {
        (Part.VECTORS, VectorStore.folder_of(damaged.vectors, encoder.fingerprint).relative_to(damaged.path).as_posix()),
        (Part.INDEX, "generations/000007/lexical"),
    }
    repair(damaged, examine(damaged, load), load, NoProgress())
    assert examine(damaged, load) == []


def test_a_lexical_index_of_an_earlier_version_is_told_and_built_anew(damaged: Home, load: Callable[[str], Encoder]) -> None:
    with damaged.draft() as draft:
        (draft.folder / "lexical" / "documents-3.npy").rename(draft.folder / "lexical" / "documents-2.npy")
        draft.publish()
    (finding,) = examine(damaged, load)
    assert (finding.part, finding.place) == (Part.INDEX, f"generations/{damaged.current_name()}/lexical")
    assert finding.problem == "is of an earlier version; the next job builds it anew"
    repair(damaged, [finding], load, NoProgress())
    assert examine(damaged, load) == []


def test_vectors_of_another_text(damaged: Home, load: Callable[[str], Encoder]) -> None:
    for path in damaged.vectors.rglob("*.vectors.npy"):
        np.save(path, np.roll(np.load(path), 1, axis=0))
        path.rename(path.with_name("000000-0123abcd.vectors.npy"))  # as an earlier version named them: without a checksum
    for path in damaged.vectors.rglob("*.digests.npy"):
        path.rename(path.with_name("000000-0123abcd.digests.npy"))
    problems = [finding.problem for finding in examine(damaged, load)]
    assert "4 of 4 texts, embedded again, have another vector than the stored one" in problems


def test_what_a_killed_job_left_is_removed(damaged: Home, load: Callable[[str], Encoder]) -> None:
    left = next(damaged.vectors.iterdir()) / "000001-crc00000000.vectors.tmp"
    left.write_bytes(b"half")
    found = examine(damaged, load)
    assert [finding.place for finding in found] == [left.relative_to(damaged.path).as_posix()]
    repair(damaged, found, load, NoProgress())
    assert not left.exists()
    assert examine(damaged, load) == []


def test_a_catalogue_with_nothing_to_fall_back_to(damaged: Home, load: Callable[[str], Encoder]) -> None:
    for path in damaged.generations.glob("*/catalogue.duckdb"):
        damage(path, "truncated")
    (finding,) = examine(damaged, load)
    assert "ingest your sources again" in finding.remedy
    assert repair(damaged, [finding], load, NoProgress()) == []
    assert examine(damaged, load) == [finding]


@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_the_library_is_named_and_left_alone(damaged: Home, kb: Kb, how: str) -> None:
    path = damaged.path / LIBRARY_FILE
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[: len(data) // 2]
    else:
        data[100] ^= 0xFF  # the kind of the first page
    path.write_bytes(data)
    done = kb("doctor", "--repair", "--json")
    assert done.returncode == 1
    finding = json.loads(done.stdout)["findings"][0]
    assert (finding["part"], finding["place"], finding["remedy"]) == ("library", LIBRARY_FILE, "`kb restore FILE`")
    assert path.read_bytes() == bytes(data)


def test_a_damaged_configuration_is_named(damaged: Home, kb: Kb) -> None:
    damage(damaged.configuration, "truncated")
    done = kb("doctor")
    assert done.returncode == 1
    assert "config.toml" in done.stdout


def test_lists_are_held_against_papers(damaged: Home, load: Callable[[str], Encoder], kb: Kb) -> None:
    Library(damaged.path / LIBRARY_FILE).add("Thesis", [Entry("arxiv:1706.03762", "Attention"), Entry("doi:10.5555/x", "A book")])
    (finding,) = examine(damaged, load)
    assert finding.place == "Thesis"
    assert finding.problem == "2 of 3 papers are not in the catalogue: arxiv:1706.03762, doi:10.5555/x"
    assert finding.remedy == "`kb ingest arxiv --id 1706.03762`"
    assert not finding.is_fault
    damaged.configuration.unlink()
    done = kb("doctor", "--json")
    assert done.returncode == 0, done.stderr  # nothing is broken
    assert json.loads(done.stdout)["findings"][0]["fault"] is False


def test_the_doctor_without_a_knowledge_base(home: Home, load: Callable[[str], Encoder]) -> None:
    with pytest.raises(StoreError, match="no knowledge base"):
        examine(home, load)


def test_one_that_was_never_embedded(home: Home, write_snapshot: Callable[..., Path], load: Callable[[str], Encoder]) -> None:
    run_snapshot(home, [write_snapshot([record(1)])])
    assert examine(home, load) == []
    damage(home.generations / "000001" / "manifest.json", "deleted")
    repair(home, examine(home, load), load, NoProgress())
    assert examine(home, load) == []
    assert home.open().manifest.papers == 1
