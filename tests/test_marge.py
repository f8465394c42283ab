"""The MARGE-style model against small cases worked by hand, its training against a killed run, and its two uses."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder, Vectors
from kb.errors import ModelError
from kb.models.marge.corpus import Corpus, read_corpus
from kb.models.marge.encoder import MargeEncoder, RelevanceModel, apply_adapter, interpolate
from kb.models.marge.model import PAD, Adapter, Batch, Marge, Sizes, biased_attention
from kb.models.marge.pairs import BatchRows, Pairs, group_batches, mine_pairs
from kb.models.marge.quality import Comparison, HalfAbstracts, compare, split_halves
from kb.models.marge.states import TokenStates
from kb.models.marge.training import CHECKPOINT, PRESETS, Training, batch_of
from kb.models.marge.weights import BUNDLED, METADATA_FILE, fingerprint, read_adapter, read_metadata, read_model, write_model
from kb.models.registry import DEFAULT_MODEL, default_model_folder, load_encoder, load_relevance_model
from kb.search.rerank_marge import MargeReranker
from kb.search.retriever import Candidates, Query
from kb.search.searcher import Searcher
from kb.store import Home

SHAPE = Sizes(encoder=8, width=8, heads=2, layers=2, inner=16, bottleneck=4, vocabulary=20, target_tokens=6)


def unit(*rows: list[float]) -> Vectors:
    vectors = np.asarray(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def model() -> Marge:
    """An untrained model over a made-up vocabulary of thirty words, of which it can write the first twenty."""
    torch.manual_seed(0)
    model = Marge(SHAPE, torch.randn(30, 8), torch.arange(20))
    torch.nn.init.normal_(model.adapter.up.weight, std=0.3)
    torch.nn.init.normal_(model.no_evidence)
    return model.eval()


@pytest.fixture
def batch() -> Batch:
    """Two targets and three papers of two, three and one tokens."""
    torch.manual_seed(1)
    return Batch(
        targets=torch.tensor([[1, 5, 7, 9], [1, 6, 8, PAD]]),
        target_vectors=torch.nn.functional.normalize(torch.randn(2, 8), dim=-1),
        evidence=torch.tensor([3, 4, 5, 6, 7, 8]),
        states=torch.randn(6, 8),
        paper=torch.tensor([0, 0, 1, 1, 1, 2]),
        evidence_vectors=torch.nn.functional.normalize(torch.randn(3, 8), dim=-1),
        allowed=torch.ones(2, 3, dtype=torch.bool),
    )


def likelihood(model: Marge, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.log_likelihood(batch, model.relevance(batch))[0]


# The model ---------------------------------------------------------------------------------------------------------------


def test_the_bias_by_hand() -> None:
    """Queries of zeros read by the bias alone: papers of one token each weigh softmax(β f), here 1 : 3."""
    query, key = torch.zeros(1, 1, 1, 4), torch.randn(1, 1, 2, 4)
    value = torch.tensor([[[[1.0, 0, 0, 0], [0, 1.0, 0, 0]]]])
    bias = torch.tensor([[[[0.5, 0.5 + float(np.log(3))]]]])
    read = biased_attention(query, key, value, bias, torch.eye(2)[None, None])
    torch.testing.assert_close(read[0, 0, 0], torch.tensor([0.25, 0.75, 0, 0]))


def test_biased_attention_is_the_explicit_one() -> None:
    query, key, value, bias = (torch.randn(1, 2, n, w) for n, w in ((5, 4), (7, 4), (7, 4), (5, 3)))
    paper = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 1, 2, 2]), 3).float()[None, None]
    bias = bias[:, :1]
    explicit = torch.softmax(query @ key.transpose(2, 3) / 2 + bias @ paper.transpose(2, 3), dim=-1) @ value
    torch.testing.assert_close(biased_attention(query, key, value, bias, paper), explicit)


def test_relevance_is_a_true_cosine_of_both_sides(model: Marge, batch: Batch) -> None:
    with torch.no_grad():
        g = [model.adapter(vectors).numpy() for vectors in (batch.target_vectors, batch.evidence_vectors)]
        found = model.relevance(batch).numpy()
    norms = np.linalg.norm(g[0], axis=1)[:, None] * np.linalg.norm(g[1], axis=1)[None]
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    np.testing.assert_allclose(found, g[0] @ g[1].T / norms, atol=1e-5)


def test_reconstruction_teaches_g_on_both_sides(model: Marge, batch: Batch) -> None:
    batch.target_vectors.requires_grad_()
    batch.evidence_vectors.requires_grad_()
    found, counts = model.log_likelihood(batch, model.relevance(batch))
    (-found.sum() / counts.sum()).backward()
    for gradient in (batch.target_vectors.grad, batch.evidence_vectors.grad, model.adapter.down.weight.grad, model.beta.grad):
        assert gradient is not None and gradient.abs().sum() > 1e-6


def test_what_is_not_allowed_is_not_read(model: Marge, batch: Batch) -> None:
    closed = dataclasses.replace(batch, allowed=torch.tensor([[True, False, True], [False, False, False]]))
    other = closed.states.clone()
    other[batch.paper == 1] = 100
    torch.testing.assert_close(likelihood(model, closed), likelihood(model, dataclasses.replace(closed, states=other)))
    other[:] = 100  # the second target reads nothing at all
    nothing = likelihood(model, dataclasses.replace(closed, states=other))
    torch.testing.assert_close(likelihood(model, closed)[1], nothing[1])
    assert not torch.allclose(likelihood(model, closed)[0], nothing[0])


def test_padding_and_words_that_cannot_be_written_do_not_count(model: Marge, batch: Batch) -> None:
    with torch.no_grad():
        found, counts = model.log_likelihood(batch, model.relevance(batch))
        wider = dataclasses.replace(batch, targets=torch.nn.functional.pad(batch.targets, (0, 2)))
        padded, also = model.log_likelihood(wider, model.relevance(wider))
        rare = dataclasses.replace(batch, targets=torch.tensor([[1, 5, 25, 9], [1, 6, 8, PAD]]))
        _, without = model.log_likelihood(rare, model.relevance(rare))
    assert counts.tolist() == [[True, True, True], [True, True, False]]
    torch.testing.assert_close(padded[:, :3], found)
    assert not also[:, 3:].any() and not padded[:, 3:].any()
    assert without.tolist() == [[True, False, True], [True, True, False]]
    assert (found[counts] < 0).all()


def test_a_token_sees_none_that_come_after_it(model: Marge, batch: Batch) -> None:
    changed = batch.targets.clone()
    changed[0, 3] = 2
    after = likelihood(model, dataclasses.replace(batch, targets=changed))
    torch.testing.assert_close(after[0, :2], likelihood(model, batch)[0, :2])


def test_the_adapter_begins_as_the_encoder_and_numpy_computes_the_same(model: Marge) -> None:
    vectors = unit(*np.random.default_rng(0).normal(size=(5, 8)).tolist())
    fresh = Adapter(8, 4)
    with torch.no_grad():
        np.testing.assert_allclose(fresh(torch.from_numpy(vectors)), vectors, atol=1e-6)
        torched = model.adapter(torch.from_numpy(vectors)).numpy()
    weights = {f"adapter.{name}": tensor.detach().numpy() for name, tensor in model.adapter.named_parameters()}
    np.testing.assert_allclose(apply_adapter(vectors, weights), torched, atol=1e-5)
    assert np.abs(torched - vectors).max() > 0.01
    np.testing.assert_allclose(interpolate(unit([1, 0]), unit([0, 1]), 0.5), unit([1, 1]), atol=1e-6)


# Pairs and batches ---------------------------------------------------------------------------------------------------------


def angles(*degrees: float) -> Vectors:
    return unit(*([np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees))


def test_the_threshold_is_over_the_shard() -> None:
    """At 0°, 20°, 45° and 110°: with one pair kept a paper, the four best are the near ones' own, and the fourth paper waits."""
    vectors = angles(0, 20, 45, 110)
    found = mine_pairs(vectors, vectors, [np.arange(4)], neighbours=2, pairs_per_paper=1)
    assert found.by_target() == {0: [1], 1: [0, 2], 2: [1]}


def test_itself_and_its_copies_are_no_evidence_and_shards_are_apart() -> None:
    vectors = angles(0, 1, 30, 0, 30)
    found = mine_pairs(vectors, vectors, [np.array([0, 1, 2]), np.array([3, 4])], neighbours=3, pairs_per_paper=9)
    assert found.by_target() == {0: [2], 1: [2], 2: [1, 0], 3: [4], 4: [3]}


def test_copies_are_known_by_the_start_even_where_g_parts_them() -> None:
    found = mine_pairs(angles(0, 50, 60), angles(0, 1, 60), [np.arange(3)], neighbours=2, pairs_per_paper=9)
    assert found.by_target() == {0: [2], 1: [2], 2: [1, 0]}


def test_batches_hold_each_target_once_with_all_its_evidence() -> None:
    random = np.random.default_rng(0)
    vectors = unit(*random.normal(size=(200, 6)).tolist())
    pairs = mine_pairs(vectors, vectors, [np.arange(120), np.arange(120, 200)], neighbours=4, pairs_per_paper=3)
    groups = list(group_batches(pairs, targets=8, evidence=12, targets_per_seed=3, random=random))
    known = pairs.by_target()
    assert sorted(t for group in groups for t in group.targets) == sorted(known)
    for group in groups:
        assert len(group.targets) <= 8 and len(group.evidence) <= 12
        assert set(group.evidence) == {paper for target in group.targets for paper in known[target]}
    shared = np.mean([len(group.targets) * 3 / len(group.evidence) for group in groups])
    assert shared > 1.2  # targets share their evidence


def test_no_pairs_no_batches() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert list(group_batches(Pairs(empty, empty), 4, 4, 2, np.random.default_rng(0))) == []


# Over the real encoder -----------------------------------------------------------------------------------------------------

WORDS = (
    "graph speech pruning vision transformer board games translation language molecule energy attention search policy reward "
    "noise image video robot grammar parser retrieval query index memory proof kernel bandit privacy fairness music protein"
).split()


def made_up(number: int) -> list[str]:
    """Abstracts of three sentences; neighbours in the list have a word in common."""
    random = np.random.default_rng(7)
    texts = []
    for i in range(number):
        topic = WORDS[i // 6 % len(WORDS)]
        said = [" ".join(random.choice(WORDS, 5)) for _ in range(3)]
        texts.append(f"On {topic} {said[0]}. We study {topic} with {said[1]}. It improves {said[2]} and {topic} {i}.")
    return texts


@pytest.fixture(scope="module")
def states() -> TokenStates:
    return TokenStates(default_model_folder())


@pytest.fixture(scope="module")
def corpus(states: TokenStates) -> Corpus:
    texts = made_up(60)
    return Corpus(texts, states.vectors(states.tokenize(texts)), [np.arange(0, 30), np.arange(30, 54)], np.arange(54, 60))


def test_states_ignore_padding_and_know_no_dropout(states: TokenStates, encoder: Encoder) -> None:
    texts = ["Short.", "A much longer text about the attention of transformers, and about how to prune it."]
    vectors = states.vectors(states.tokenize(texts))
    np.testing.assert_array_equal(vectors, states.vectors(states.tokenize(texts)))
    np.testing.assert_allclose(vectors[:1], states.vectors(states.tokenize(texts[:1])), atol=3e-3)
    assert ((vectors * encoder.encode(texts)).sum(axis=1) > 0.999).all()


TINY = dataclasses.replace(PRESETS["tiny"], steps=6, mining_interval=3, measure_interval=3, save_interval=2)


def nothing_measured(_: object) -> dict[str, float]:
    return {}


def test_training_lowers_the_loss_and_writes_its_curve(corpus: Corpus, states: TokenStates, tmp_path: Path) -> None:
    training = Training(corpus, states, dataclasses.replace(TINY, steps=12, learning_rate=1e-2), tmp_path)
    training.run(lambda adapt: {"moved": float(np.abs(adapt(corpus.vectors) - corpus.vectors).max())})
    first, *_, last = [entry for entry in training.log if "loss" in entry]
    assert last["loss"] < first["loss"]
    assert [entry["step"] for entry in training.log] == [0, 3, 6, 9, 12]
    assert training.log[0]["moved"] < 1e-6 < training.log[-1]["moved"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 5


_RUN = """
import pickle, sys
from pathlib import Path
import dataclasses
from kb.models.marge.states import TokenStates
from kb.models.marge.training import Training
from kb.models.registry import default_model_folder
corpus, config = pickle.loads(Path(sys.argv[1]).read_bytes())
Training(corpus, TokenStates(default_model_folder()), config, Path(sys.argv[2])).run(lambda adapt: {})
"""


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(corpus: Corpus, states: TokenStates, tmp_path: Path) -> None:
    import pickle

    Training(corpus, states, TINY, tmp_path / "whole").run(nothing_measured)
    (tmp_path / "what").write_bytes(pickle.dumps((corpus, TINY)))
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path / "what"), str(tmp_path / "killed")])
    while not (tmp_path / "killed" / CHECKPOINT).exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = Training(corpus, states, TINY, tmp_path / "killed")
    assert 0 < resumed.step <= TINY.steps
    resumed.run(nothing_measured)
    ends = [torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "killed")]
    assert ends[0]["step"] == ends[1]["step"] == 6
    # Kernels choose their order of summation by where arrays lie in memory, and Adam makes steps of the smallest difference:
    # the ends are as near to each other as rounding leaves them, which is far less than one step of six.
    start = Training(corpus, states, TINY, tmp_path / "start").model.state_dict()
    whole, killed, begin = (
        torch.cat([tensor.flatten() for tensor in model.values() if tensor.is_floating_point()])
        for model in (ends[0]["model"], ends[1]["model"], {name: start[name] for name in ends[0]["model"]})
    )
    assert torch.dist(whole, killed) < 0.1 * torch.dist(whole, begin)
    assert [entry["step"] for entry in ends[0]["log"]] == [entry["step"] for entry in ends[1]["log"]]


def test_a_checkpoint_is_on_disk_before_it_has_its_name(
    corpus: Corpus, states: TokenStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int, really: Callable[[int], None] = os.fsync) -> None:
        really(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    Training(corpus, states, dataclasses.replace(TINY, steps=2), tmp_path).run(nothing_measured)
    assert {(tmp_path / name).stat().st_ino for name in (CHECKPOINT, "log.jsonl")} <= set(synced)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "log.jsonl"]


def test_a_run_of_another_plan_is_not_continued(corpus: Corpus, states: TokenStates, tmp_path: Path) -> None:
    Training(corpus, states, dataclasses.replace(TINY, steps=2), tmp_path).run(nothing_measured)
    with pytest.raises(ModelError, match="other settings"):
        Training(corpus, states, TINY, tmp_path)
    grown = dataclasses.replace(corpus, texts=[*corpus.texts[:-1], "A paper that was not there."])
    with pytest.raises(ModelError, match="other settings or papers"):
        Training(grown, states, dataclasses.replace(TINY, steps=2), tmp_path)


def test_a_run_begins_where_another_model_ended(corpus: Corpus, states: TokenStates, tmp_path: Path) -> None:
    first = Training(corpus, states, dataclasses.replace(TINY, steps=2), tmp_path / "first")
    first.run(nothing_measured)
    fewer = dataclasses.replace(corpus, shards=corpus.shards[:1])  # other words are frequent there
    second = Training(fewer, states, TINY, tmp_path / "second", first.model)
    assert second.step == 0
    for name, tensor in first.model.state_dict().items():
        torch.testing.assert_close(tensor, second.model.state_dict()[name], rtol=0, atol=0)
    with pytest.raises(ModelError, match="another size"):
        Training(corpus, states, PRESETS["cpu"], tmp_path / "third", first.model)


def test_a_target_reads_neither_itself_nor_its_copies_in_a_batch(states: TokenStates) -> None:
    texts = made_up(5)
    vectors = np.zeros((5, 384), dtype=np.float32)
    vectors[np.arange(5), [0, 0, 1, 2, 3]] = 1.0
    vectors[1, 5] = 0.2  # the second is a copy of the first, at a cosine of 0.98
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    corpus = Corpus(texts, vectors, [np.arange(5)], np.arange(0))
    batch = batch_of(BatchRows([0, 2], [0, 1, 2, 3, 4]), corpus, states, PRESETS["tiny"].sizes)
    assert batch.allowed.tolist() == [[False, False, True, True, True], [True, True, False, True, True]]


def test_g_is_held_to_its_start_by_as_much_as_the_plan_says(corpus: Corpus, states: TokenStates, tmp_path: Path) -> None:
    losses = []
    for name, hold in (("free", 0.0), ("held", 3.0)):
        training = Training(corpus, states, dataclasses.replace(TINY, drift_weight=hold), tmp_path / name)
        torch.manual_seed(2)
        torch.nn.init.normal_(training.model.adapter.up.weight, std=0.3)
        loss, parts = training.loss(training.batch(next(training._batches(0)), np.random.default_rng(0)))
        losses.append(loss.item())
        assert parts["drift"] > 0.01
    assert losses[1] - losses[0] == pytest.approx(3.0 * parts["drift"], rel=1e-3)


def test_shards_are_category_and_quarter_without_what_is_held_out(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder
) -> None:
    created = [f"Mon, 1 {month} 2024 00:00:00 GMT" for month in ("Feb", "Mar", "Apr")]
    papers = [
        record(n, categories=("cs.LG", "cs.CL stat.ML")[n % 2], versions=[{"version": "v1", "created": created[n // 2 % 3]}])
        for n in range(240)
    ]
    run_snapshot(home, [write_snapshot(papers)])
    run_index(home, encoder)
    with Searcher.open(home, encoder) as searcher:
        found = read_corpus(searcher.catalogue, searcher.index)
        abstracts = searcher.catalogue.abstracts()
    held_out = set(found.held_out.tolist())
    assert len(held_out) == 12  # one in twenty
    kinds: dict[tuple[str, int], list[int]] = {}
    for row, paper in enumerate(abstracts):
        if row not in held_out:
            kinds.setdefault((paper.category, paper.quarter), []).append(row)
    assert sorted(kinds) == [("cs.CL", 1), ("cs.CL", 2), ("cs.LG", 1), ("cs.LG", 2)]
    assert [shard.tolist() for shard in found.shards] == [kinds[kind] for kind in sorted(kinds)]


# Its two uses --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(states: TokenStates, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with a g of its own, in the form of a trained one."""
    torch.manual_seed(3)
    model = Marge(PRESETS["tiny"].sizes, states.words, torch.arange(1000, 1512))
    torch.nn.init.normal_(model.adapter.up.weight, std=0.1)
    folder = tmp_path_factory.mktemp("trained")
    write_model(folder, model, encoder.fingerprint, 0.5)
    return folder


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_model_that_is_replaced_is_the_old_one_or_the_new_one_or_none(
    trained: Path, states: TokenStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    old = shutil.copytree(trained, tmp_path / "old")
    model = read_model(old, states.words)
    before = fingerprint(old, "e")
    calls = 0

    def failing(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError("stopped here")

    where, really = (os, os.fsync) if step == "fsync" else (Path, Path.replace)
    monkeypatch.setattr(where, step, lambda *at: (failing(), really(*at))[1])
    with pytest.raises(OSError, match="stopped here"):
        write_model(old, model, "another", 1.0)
    if step == "fsync":  # nothing was touched
        assert fingerprint(old, "e") == before
    else:  # what is there names no model, and the same run once more writes it
        with pytest.raises(ModelError, match="holds no trained model"):
            read_metadata(old)
    monkeypatch.undo()
    write_model(old, model, "another", 1.0)
    assert (read_metadata(old).encoder, read_metadata(old).mix) == ("another", 1.0)


def test_weights_come_back(trained: Path, states: TokenStates, tmp_path: Path) -> None:
    model = read_model(trained, states.words)
    assert model.written.tolist() == list(range(1000, 1512))
    assert read_metadata(trained).mix == 0.5
    with pytest.raises(ModelError, match=r"holds no trained model.*kb train marge"):
        read_metadata(tmp_path)
    for damaged in ('{"encoder"', '{"encoder": "x"}'):
        (tmp_path / METADATA_FILE).write_text(damaged)
        with pytest.raises(ModelError, match=r"marge\.json is damaged.*Delete it"):
            read_metadata(tmp_path)


def test_papers_are_compared_by_the_model_in_use(trained: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KB_MODEL", raising=False)
    assert load_relevance_model(encoder.fingerprint).beta == read_metadata(BUNDLED).beta != 10
    monkeypatch.setenv("KB_MODEL", str(trained))
    model = load_relevance_model(encoder.fingerprint)
    assert model.beta == 10  # where it begins
    vectors = encoder.encode(made_up(5))
    np.testing.assert_array_equal(model.adapt(vectors), apply_adapter(vectors, read_adapter(trained)))
    assert np.abs(model.adapt(vectors) - vectors).max() > 0.01
    np.testing.assert_array_equal(load_relevance_model("f" * 64).adapt(vectors), vectors)  # of another encoder


def test_an_index_by_the_trained_encoder_embeds_nothing_anew(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder, trained: Path
) -> None:
    run_snapshot(home, [write_snapshot([record(i) for i in range(20)])])
    run_index(home, encoder)
    derived = load_encoder(str(trained))
    assert isinstance(derived, MargeEncoder)
    assert derived.fingerprint != encoder.fingerprint

    def never(*_: object) -> Vectors:
        raise AssertionError("embedded again")

    derived.base.encode = never  # type: ignore[method-assign]
    run_index(home, derived)
    with Searcher.open(home, derived) as searcher:
        keys = searcher.index.keys()
        stored = searcher.index.vectors(keys)
        texts = searcher._texts(keys.tolist())
    again = MargeEncoder(encoder, trained, "again").encode([texts[int(key)] for key in keys])
    np.testing.assert_allclose(stored, again, atol=5e-3)
    assert np.abs(stored - encoder.encode([texts[int(key)] for key in keys])).max() > 0.01


def test_another_encoder_than_it_was_trained_over_is_refused(trained: Path) -> None:
    class Other:
        model_id, fingerprint, dimension = "other", "f" * 64, 384

        def encode(self, *_: object) -> Vectors:
            raise AssertionError

    with pytest.raises(ModelError, match="another encoder"):
        MargeEncoder(Other(), trained, "x")


def test_the_reranker_reads_each_candidate_by_itself(trained: Path) -> None:
    texts = dict(enumerate(made_up(40)))
    reranker = MargeReranker(None, trained, default_model_folder(), lambda keys: {key: texts[key] for key in keys})
    gains = reranker.information_gain("pruning attention of a transformer", [texts[i] for i in range(12)])
    assert gains.shape == (12,)
    alone = [reranker.information_gain("pruning attention of a transformer", [texts[i]])[0] for i in range(12)]
    np.testing.assert_allclose(gains, alone, atol=0.02)  # bfloat16
    fused = np.linspace(1, -1, 40, dtype=np.float32)
    found = Candidates(np.arange(40), fused, fused, fused, np.eye(40, dtype=np.float32))
    scores = reranker.rerank(Query("pruning attention of a transformer"), found)
    assert scores.shape == (40,)
    assert (np.diff(scores[30:]) < 0).all() and scores[:30].min() >= scores[30:].max()
    by_example = reranker.rerank(Query(like=(39,)), found)
    assert by_example.shape == (40,) and not np.allclose(by_example, scores)
    one = Candidates(found.keys[:1], fused[:1], fused[:1], fused[:1], found.vectors[:1])
    np.testing.assert_array_equal(reranker.rerank(Query("x"), one), [1])


def test_the_reranker_computes_with_the_calling_thread_alone(trained: Path) -> None:
    reranker = MargeReranker(None, trained, default_model_folder(), lambda _: {})
    seen: list[int] = []
    for module in (reranker._model.layers[0].own, reranker._states._model):
        module.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        reranker.information_gain("pruning attention", made_up(2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


def test_the_reranker_gives_what_a_paper_adds_to_the_likelihood(trained: Path, states: TokenStates) -> None:
    """(log p(x | z) − log p(x)) / tokens of x, with one paper and with none, by the model itself in single precision."""
    model = read_model(trained, states.words).eval()
    text, papers = "pruning attention of a transformer", made_up(3)
    target, *evidence = states.tokenize([text, *papers])
    tokens = [target[: model.sizes.target_tokens], *(part[: model.sizes.evidence_tokens] for part in evidence)]
    vectors = torch.from_numpy(states.vectors(tokens))
    expected = []
    for number, paper in enumerate(tokens[1:], start=1):
        means = []
        for reads in (True, False):
            batch = Batch(
                torch.from_numpy(tokens[0])[None],
                vectors[:1],
                torch.from_numpy(paper),
                states.hidden_states([paper]).float(),
                torch.zeros(len(paper), dtype=torch.long),
                vectors[number : number + 1],
                torch.tensor([[reads]]),
            )
            with torch.no_grad():
                found, counts = model.log_likelihood(batch, model.relevance(batch))
            means.append(float(found.sum() / counts.sum()))
        expected.append(means[0] - means[1])
    assert max(map(abs, expected)) > 0.05  # far more than the tolerance: another sign would be seen
    reranker = MargeReranker(None, trained, default_model_folder(), lambda _: {})
    np.testing.assert_allclose(reranker.information_gain(text, papers), expected, atol=0.02)


def eye(number: int) -> Vectors:
    return np.eye(number, dtype=np.float32)


@pytest.fixture
def measured(corpus: Corpus, encoder: Encoder) -> HalfAbstracts:
    """Six papers; each first half lies nearer to the second half of the next paper (2/√5) than to its own (1/√5)."""
    found = HalfAbstracts(dataclasses.replace(corpus, held_out=np.arange(60)), encoder)
    assert len(found.queries) == len(found.documents) == 60
    one = found.reciprocal_ranks(lambda vectors: np.ones_like(vectors))
    np.testing.assert_allclose(one, 1 / 60)  # to which all texts are one
    eye = np.eye(6, dtype=np.float32)
    found.queries, found.documents = eye, unit(*(eye + 2 * np.roll(eye, -1, axis=1)).tolist())
    return found


def itself(vectors: Vectors) -> Vectors:
    return vectors


def right_for(measured: HalfAbstracts, *papers: int) -> Callable[[Vectors], Vectors]:
    """A g to which the first halves of these papers are their second halves, and all else is as it was."""

    def g(vectors: Vectors) -> Vectors:
        if vectors is not measured.queries:
            return vectors
        return np.where(np.isin(np.arange(6), papers)[:, None], measured.documents, vectors)

    return g


def test_quality_is_of_the_papers_that_no_share_is_chosen_by(measured: HalfAbstracts) -> None:
    np.testing.assert_allclose(measured.reciprocal_ranks(itself), 0.5)
    g = right_for(measured, 1, 3)
    np.testing.assert_allclose(measured.reciprocal_ranks(g), [0.5, 1, 0.5, 1, 0.5, 0.5])
    assert measured.quality(g) == pytest.approx(2.5 / 3)
    assert measured.best_mix(g) == 0  # nothing is better for the first, the third and the fifth
    # A quarter of the way: 3/4 · 1/√5 + 1/4 · 1 = 0.585 for the own half, 3/4 · 2/√5 + 1/4 · 2/5 = 0.771 for another.
    assert measured.best_mix(right_for(measured, 0)) == 0.5 and measured.best_mix(itself) == 0


def test_a_g_is_compared_with_each_that_there_was(measured: HalfAbstracts) -> None:
    good, middling = right_for(measured, 0, 1, 2, 3, 4, 5), right_for(measured, 0, 1, 2, 3)
    assert compare(measured, itself, {}) == Comparison(0, 0.5, "the encoder", 0.5)
    assert not compare(measured, itself, {}).better  # as good is not better
    assert compare(measured, good, {"one": itself}) == Comparison(0.5, 1, "the encoder", 0.5)
    beaten = compare(measured, middling, {"one": itself, "another": good, "a third": middling})
    assert beaten == Comparison(0.5, pytest.approx(2.5 / 3), "another", 1) and not beaten.better
    won = compare(measured, good, {"one": itself, "a third": middling})
    assert won == Comparison(0.5, 1, "a third", pytest.approx(2.5 / 3)) and won.better


def test_an_abstract_is_cut_at_a_sentence() -> None:
    assert split_halves("One is here now. Two is. Three is.") == ("One is here now. Two is.", "Three is.")
    assert split_halves("Only one is here.") == ("Only one is here.", "")


@pytest.fixture
def papers(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Home:
    """An indexed knowledge base that is just large enough to train on."""
    records = [record(i, title=text.split(".")[0], abstract=text, comments=None) for i, text in enumerate(made_up(210))]
    run_snapshot(home, [write_snapshot(records)])
    run_index(home, encoder)
    return home


TrainMarge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_kb_train_marge_ends_with_a_verdict(kb: TrainMarge, papers: Home) -> None:
    assert "neither `marge` nor" in kb("train", "marge", "--from", "nowhere").stderr
    answer = kb("train", "marge", "--preset", "tiny", "--steps", "12", "--json")
    said = json.loads(answer.stdout)
    assert said["installed"] == (said["after"] > said["before"]) == (answer.returncode == 0), answer.stderr
    assert said["log"][-1]["step"] == PRESETS["tiny"].steps
    assert (papers.path / "models" / "marge").is_dir() == said["installed"]
    assert ("was not installed" in answer.stderr) != said["installed"]
    assert DEFAULT_MODEL.endswith("MiniLM-L6-v2")


@pytest.mark.slow
def test_a_better_model_that_is_installed_stays(kb: TrainMarge, papers: Home, encoder: Encoder, states: TokenStates) -> None:
    """The installed one has learned the very halves that are asked for: it is better than whatever twelve steps bring."""
    with Searcher.open(papers, encoder) as searcher:
        halves = HalfAbstracts(read_corpus(searcher.catalogue, searcher.index), encoder)
    torch.manual_seed(0)
    model = Marge(PRESETS["tiny"].sizes, states.words, torch.arange(1000, 1512))
    optimizer = torch.optim.Adam(model.adapter.parameters(), lr=0.02)
    queries, documents = torch.from_numpy(halves.queries), torch.from_numpy(halves.documents)
    for _ in range(60):
        cosines = model.adapter(queries) @ model.adapter(documents).T
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(20 * cosines, torch.arange(len(cosines))).backward()
        optimizer.step()
    folder = papers.path / "models" / "marge"
    write_model(folder, model, encoder.fingerprint, 1.0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert halves.quality(RelevanceModel.read(folder, encoder.fingerprint).adapt) == 1 > halves.quality(itself)
    answer = kb("train", "marge", "--preset", "tiny", "--json")
    said = json.loads(answer.stdout)
    assert answer.returncode == 1 and not said["installed"]
    assert (said["before"], said["best before"]) == (1, f"the model in {folder}") and said["after"] < 1
    assert f"1.0000 with the model in {folder}. The new one is not better ({said['after'] - 1:+.4f})" in " ".join(
        answer.stderr.split()
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # Where papers are compared by that one, it is the one to beat wherever it lies.
    elsewhere = folder.rename(papers.path / "mine")
    answer = kb("train", "marge", "--preset", "tiny", "--json", KB_MODEL=str(elsewhere))
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["best before"] == "the model by which papers are compared now"
    assert not folder.exists()
