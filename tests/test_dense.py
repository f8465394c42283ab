"""The dense index of many papers, and its updates: against brute force and against a dictionary."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.encode.encoder import Vectors
from kb.encode.vector_store import DIGEST, Digests, differences, digests, entries
from kb.errors import StoreError
from kb.index.dense import DenseIndex
from kb.index.ivfpq import float16_to_float32
from kb.store import Keys

DIMENSION = 32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes effect at tens of thousands of papers takes effect at hundreds."""
    monkeypatch.setattr("kb.index.dense._MAX_FLAT", 400)
    monkeypatch.setattr("kb.index.ivfpq._MAX_SCANNED_ROWS", 300)
    monkeypatch.setattr("kb.index.ivfpq._CHUNK_ROWS", 700)


class Papers:
    """What an index should hold: the vector of every paper by key, and the number of its text."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = np.random.default_rng(seed)
        self.topics = self.chance.standard_normal((40, DIMENSION))
        self.vectors: dict[int, Vectors] = {}
        self.texts: dict[int, int] = {}
        self._text = 0
        self.asked = 0

    def put(self, keys: Keys) -> None:
        """New papers, or new texts of old ones."""
        for key in keys.tolist():
            vector = self.topics[self.chance.integers(40)] + 0.7 * self.chance.standard_normal(DIMENSION)
            # As it is stored: in half precision.
            self.vectors[key] = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
            self._text += 1
            self.texts[key] = self._text

    def drop(self, keys: Keys) -> None:
        for key in keys.tolist():
            del self.vectors[key], self.texts[key]

    def keys(self) -> Keys:
        return np.array(sorted(self.vectors), dtype=np.int64)

    def digests(self) -> Digests:
        return digests([f"{self.texts[key]:032x}" for key in self.keys().tolist()])

    def take(self, rows: Keys) -> Vectors:
        self.asked += len(rows)
        keys = self.keys()[rows].tolist()
        return np.stack([self.vectors[k] for k in keys]) if keys else np.empty((0, DIMENSION), dtype=np.float32)

    def update(self, path: Path) -> DenseIndex:
        self.asked = 0
        DenseIndex.update(path, self.keys(), self.digests(), self.take, DIMENSION)
        return DenseIndex.read(path)

    def nearest(self, query: Vectors, k: int, allowed: Keys | None = None) -> list[int]:
        keys = self.keys() if allowed is None else np.intersect1d(self.keys(), allowed)
        cosines = np.stack([self.vectors[key] / np.linalg.norm(self.vectors[key]) for key in keys.tolist()]) @ query
        return keys[np.argsort(-cosines, kind="stable")[:k]].tolist()

    def queries(self, count: int = 40) -> Vectors:
        made = self.topics[self.chance.integers(40, size=count)] + 0.7 * self.chance.standard_normal((count, DIMENSION))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def recall(index: DenseIndex, papers: Papers, k: int = 10, allowed: Keys | None = None) -> float:
    found = 0
    queries = papers.queries()
    for query in queries:
        keys, cosines = index.search(query[None], k, allowed)
        truth = papers.nearest(query, k, allowed)
        assert len(keys[0]) == len(truth) == len(set(keys[0].tolist()))
        np.testing.assert_allclose(cosines[0], index.vectors(keys[0]) @ query, atol=1e-6)
        assert (np.diff(cosines[0]) <= 0).all()
        found += len(set(truth) & set(keys[0].tolist()))
    return found / (len(queries) * k)


def compressed(path: Path) -> bool:
    return path.with_suffix(".codes.faiss").is_file()


def same(index: DenseIndex, papers: Papers) -> None:
    """The index holds exactly these papers, with their vectors."""
    keys = papers.keys()
    assert index.keys().tolist() == keys.tolist()
    assert len(index) == len(keys)
    exact = np.stack([papers.vectors[key] for key in keys.tolist()])
    np.testing.assert_allclose(index.vectors(keys), exact / np.linalg.norm(exact, axis=1, keepdims=True), atol=1e-3)
    assert (index.rows_of(np.array([-1, 10**9])) == -1).all()


def test_few_are_exact_and_many_compressed(tmp_path: Path) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 401))
    index = papers.update(path)
    assert not compressed(path)
    assert recall(index, papers) == 1.0
    papers.put(np.arange(401, 4001))
    index = papers.update(path)
    assert compressed(path)
    same(index, papers)
    assert recall(index, papers) >= 0.98
    assert index.search(papers.queries(3), 7)[0].shape == (3, 7)
    with pytest.raises(KeyError):
        index.vectors(np.array([4001]))


def test_enough_candidates_are_scored_exactly_for_few_results_and_for_many(tmp_path: Path) -> None:
    papers = Papers()
    papers.put(np.arange(1, 8001))
    index = papers.update(tmp_path / "dense.faiss")
    assert recall(index, papers, 10) >= 0.99  # of at least 1,000 candidates; of 80 it is 0.81
    assert recall(index, papers, 1000) >= 0.96  # of eight a result; of one it is 0.70


@pytest.mark.skipif(sys.platform == "win32", reason="there they are always mapped")
def test_vectors_that_are_read_are_those_that_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 2001))
    mapped = papers.update(path)
    monkeypatch.setattr("kb.index.ivfpq._MAX_MAPPED_BYTES", 0)
    read = DenseIndex.read(path)
    keys, queries = papers.keys()[::-3], papers.queries()
    np.testing.assert_array_equal(read.vectors(keys), mapped.vectors(keys))
    for one, other in zip(read.search(queries, 20), mapped.search(queries, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    path.with_suffix(".vectors.npy").write_bytes(b"")  # a disk that fails
    with pytest.raises(StoreError, match="kb doctor"):
        read.vectors(keys)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_filters_leave_k_whenever_k_exist(tmp_path: Path, share: float) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 4001))
    papers.update(path)
    papers.put(np.arange(4001, 4101))  # some of them compared one by one
    index = papers.update(path)
    allowed = np.sort(papers.chance.choice(papers.keys(), int(4100 * share), replace=False))
    allowed = np.append(allowed, 10**6)  # a paper without vector
    assert recall(index, papers, 10 if share > 0.001 else 4, allowed) >= (0.98 if len(allowed) > 300 else 1.0)


def test_k_come_back_where_all_that_is_near_is_gone_or_filtered_away(tmp_path: Path) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 4001))
    index = papers.update(path)
    query = papers.queries(1)
    near = np.array(papers.nearest(query[0], 900))
    far = np.setdiff1d(papers.keys(), near)
    assert len(index.search(query, 50, far)[0][0]) == 50
    papers.drop(near)
    index = papers.update(path)
    keys, _ = index.search(query, 3100)
    assert sorted(keys[0].tolist()) == papers.keys().tolist()


def test_daily_changes_end_as_a_dictionary_does(tmp_path: Path) -> None:
    """Thirty days of papers added, changed and deleted; every generation shares files with the one before it."""
    papers = Papers(seed=5)
    papers.put(np.arange(1, 2001))
    folder = tmp_path / "0"
    folder.mkdir()
    index = papers.update(folder / "dense.faiss")
    before, query = index, papers.queries(1)
    answer = index.search(query, 20)
    most = 0
    for day in range(1, 31):
        following = tmp_path / str(day)
        following.mkdir()
        for path in folder.iterdir():
            os.link(path, following / path.name)
        held = len(papers.keys())
        papers.drop(papers.chance.choice(papers.keys(), 5, replace=False))
        papers.put(papers.chance.choice(papers.keys(), 5, replace=False))
        papers.put(np.arange(held * 10 + 1, held * 10 + 26))
        index = papers.update(following / "dense.faiss")
        most = max(most, papers.asked)
        same(index, papers)
        old = DenseIndex.read(folder / "dense.faiss")  # what was published answers as it did
        assert old.search(query, 20)[0].tolist() == answer[0].tolist()
        answer = index.search(query, 20)
        folder = following
        if day % 10 == 0:
            assert recall(index, papers) >= 0.98
    assert most < 500  # only those compared one by one, and what is new
    assert len(np.load(folder / "dense.keys.npy")) > 2000  # they were compressed with the others in between
    assert before.search(query, 20)[0].shape == (1, 20)  # open since the first day


def test_an_index_with_much_gone_is_built_anew(tmp_path: Path) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 2001))
    papers.update(path)
    papers.drop(np.arange(1, 701))
    same(papers.update(path), papers)
    papers.put(np.arange(3001, 3500))
    same(papers.update(path), papers)
    assert len(np.load(path.with_suffix(".keys.npy"))) == len(papers.keys())


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 1001))
    papers.update(path)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    papers.update(path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == stamps
    assert papers.asked == 0


@pytest.mark.parametrize("name", ["dense.faiss", "dense.codes.faiss", "dense.vectors.npy", "dense.keys.npy", "dense.gone.npy"])
def test_a_damaged_file_is_said_to_be(tmp_path: Path, name: str) -> None:
    papers, path = Papers(), tmp_path / "dense.faiss"
    papers.put(np.arange(1, 1001))
    papers.update(path)
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(StoreError, match="kb index"):
        DenseIndex.read(path)
    papers.drop(np.arange(1, 701))
    same(papers.update(path), papers)  # from the stored vectors
    assert not compressed(path)


@pytest.mark.parametrize("block", [1, 7, 1 << 15])
def test_what_an_index_lacks_is_told_by_key_and_digest(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.encode.vector_store._BLOCK_ROWS", block)
    chance = np.random.default_rng(3)

    def some() -> NDArray[np.void]:
        keys = np.sort(chance.choice(60, int(chance.integers(0, 50)), replace=False))
        halves = chance.integers(0, 2, (len(keys), 2))  # so that digests differ in one half, the other or both
        return entries(keys, halves.view(DIGEST).reshape(-1))

    for _ in range(200):
        ours, theirs = some(), some()
        expected = [row not in theirs.tolist() for row in ours.tolist()], [row not in ours.tolist() for row in theirs.tolist()]
        assert tuple(mask.tolist() for mask in differences(ours, theirs)) == expected


def test_halves_become_single_precision_exactly() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(-1, 2)
    assert finite.size == (1 << 16) - (1 << 11)
    numbers = float16_to_float32(finite)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers.view(np.uint32), finite.astype(np.float32).view(np.uint32))  # −0 stays −0
