"""The measurements of the MARGE-style model, on a library of made-up papers that cite each other."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import record
from test_marge import made_up

from bench.marge import Split, citations, held_out_groups, main, reconstruction, split_of
from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.models.marge.corpus import Corpus
from kb.models.marge.model import Marge
from kb.models.marge.states import TokenStates
from kb.models.marge.training import PRESETS
from kb.models.marge.weights import write_model
from kb.models.registry import default_model_folder
from kb.store import Home


@pytest.fixture(scope="module")
def states() -> TokenStates:
    return TokenStates(default_model_folder())


@pytest.fixture(scope="module")
def model(states: TokenStates) -> Marge:
    torch.manual_seed(3)
    return Marge(PRESETS["tiny"].sizes, states.words, torch.arange(1000, 1512)).eval()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Forty papers, each of which cites the next, and one that is not in the collection."""
    folder = tmp_path / "shared" / "data" / "citations"
    folder.mkdir(parents=True)
    with gzip.open(folder / "papers.jsonl.gz", "wt", encoding="utf-8") as lines:
        for number, text in enumerate(made_up(40)):
            lines.write(json.dumps({"id": f"p{number}", "title": text.split(".")[0], "abstract": text}) + "\n")
    with gzip.open(folder / "pairs.tsv.gz", "wt", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, delimiter="\t")
        rows.writerow(["citing", "cited"])
        rows.writerows([f"p{n}", cited] for n in range(39) for cited in (f"p{n}", f"p{n + 1}", "elsewhere"))
    return tmp_path / "shared"


def test_a_citing_paper_is_in_one_part_and_does_not_answer_itself(shared: Path) -> None:
    parts = [citations(shared, split) for split in ("train", "dev", "test")]
    assert sorted(query for part in parts for query in part.qrels) == sorted(f"p{n}" for n in range(39))
    for part in parts:
        assert part.qrels == {query: {f"p{int(query[1:]) + 1}": 1} for query in part.qrels}
        assert {split_of(query) for query in part.qrels} == {part.name.rsplit("-", 1)[1]}


def test_what_each_part_of_the_model_is_worth(model: Marge, states: TokenStates) -> None:
    texts = made_up(60)
    corpus = Corpus(texts, states.vectors(states.tokenize(texts)), [np.arange(54)], np.arange(54, 60))
    config = dataclasses.replace(PRESETS["tiny"], targets_per_batch=3)
    for group in held_out_groups(corpus, config):
        assert set(group.targets) <= set(range(54, 60)) and set(group.evidence) <= set(range(54))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = reconstruction(model, corpus, states, config)
    assert {name: values.shape for name, values in losses.items()} == dict.fromkeys(
        ("as trained", "f of the untrained encoder", "β = 0", "the evidence of others", "no evidence"), (6,)
    )
    # g has not moved from the encoder yet, and all else makes a difference.
    np.testing.assert_allclose(losses["f of the untrained encoder"], losses["as trained"], atol=0.02)
    for name in ("β = 0", "the evidence of others", "no evidence"):
        assert np.abs(losses[name] - losses["as trained"]).max() > 1e-4
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.fixture
def report(
    shared: Path,
    model: Marge,
    encoder: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """What a part of the report says of an untrained model."""
    write_model(tmp_path / "model", model, encoder.fingerprint, 0.5)
    monkeypatch.setenv("KB_SHARED_DATA", str(shared))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KB_RERANKER", "learned")  # which the report changes

    def say(part: str, *options: str) -> str:
        monkeypatch.setattr("sys.argv", ["bench.marge", part, str(tmp_path / "model"), *options])
        assert main() == 0
        return capsys.readouterr().out

    return say


def test_the_report_of_reconstruction(
    report: Callable[..., str], home: Home, encoder: Encoder, write_snapshot: Callable[..., Path]
) -> None:
    records = [record(i, title=text.split(".")[0], abstract=text, comments=None) for i, text in enumerate(made_up(210))]
    run_snapshot(home, [write_snapshot(records)])
    run_index(home, encoder)
    said = report("reconstruction", "--home", str(home.path))
    assert "reconstruction of 10 held-out papers" in said
    assert "| as trained | " in said and "| no evidence | " in said
    with pytest.raises(SystemExit):
        report("reconstruction")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_reports_of_retriever_and_reranker(report: Callable[..., str], shared: Path, tmp_path: Path, split: Split) -> None:
    asked = len(citations(shared, split).qrels)
    assert asked > 2
    said = report("retriever", "--split", split)
    assert f"citations-{split}: {asked} queries over 40 documents" in said
    model = tmp_path / "model"
    assert f"| stage | measure | start | {model}, examples compared by g | gain | {model}, in all vectors | gain |" in said
    # Forty papers are all among the first hundred, and the models agree on that.
    same = "1.0000 | +0.0000 [+0.0000, +0.0000]"
    assert f"| dense | R@100 | 1.0000 | {same} | {same} |" in said
    said = report("reranker", "--split", split, "--limit", "2")
    assert f"| citations-{split}, 2 queries | default | with the reranker | gain |" in said
    assert "| processor time of a search, ms | " in said and "| wall time of a search, ms | " in said


def test_the_report_of_judged_phrases(report: Callable[..., str], tmp_path: Path) -> None:
    """That the second query has the id of a document is an accident: asked by that one's text, it would find the other first."""
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    texts = {
        "a": "Pruning the attention heads of a transformer.",
        "b": "Energy of a molecule by a graph.",
        "2": "Molecules as a graph.",
    }
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t in texts.items()))
    asked = {"1": "energy of a molecule", "2": "pruning a transformer"}
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in asked.items()))
    (folder / "qrels" / "test.tsv").write_text("1\tb\t1\n2\ta\t1\n")
    (folder / "qrels" / "train.tsv").write_text("1\tb\t1\n")
    assert "judged: 2 queries over 3 documents" in (said := report("retriever", "--folder", str(folder)))
    assert "| fused | nDCG@10 | 1.0000 | 1.0000 | " in said
    assert "judged: 1 queries over 3 documents" in report("retriever", "--folder", str(folder), "--split", "train")
