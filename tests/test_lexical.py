"""The lexical index beside BM25 worked out by hand, and what names find."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from math import log
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tantivy

from kb.encode.vector_store import digests
from kb.errors import StoreError
from kb.index.lexical import LexicalIndex
from kb.papers import Author, Card, CodeLink, Mention, Note, Paper, Version
from kb.store import IndexDocument, Keys
from kb.text.tokenize import fold, index_terms, normalize_text, short_name, technical_names


def paper(
    key: int, title: str, abstract: str = "", authors: str = "", notes: str = "", code: Sequence[str] = ()
) -> IndexDocument:
    people = tuple(Author.from_name(name) for name in authors.split(", ") if name)
    return IndexDocument(key, Card(Paper(f"url:https://x.org/{key}", title, abstract, people)), notes, tuple(code))


PAPERS = (
    paper(1, "LoRA: Low-Rank Adaptation of Large Language Models", "We freeze the weights.", "Edward Hu, Yelong Shen"),
    paper(2, "A survey of adaptation", "LoRA, LoRA and again LoRA: low-rank updates of GPT-J and others.", "Ada Lovelace"),
    paper(3, "LoRa networks for sensors", "Long range radio with LoRa gateways.", "Yann LeCun Junior"),
    paper(4, "Tensor Programs V", r"Hyperparameters transfer by $\mu$Transfer, at $O(n^2)$ cost.", "Greg Yang"),
    paper(5, "Gradient-based learning", "Documents are recognised by convolutional networks.", "Yann LeCun, Léon Bottou"),
    paper(6, "Quadratic attention", "It costs O(n²) time. A transfer of knowledge.", "Yang Long"),
    paper(7, "Long documents", "Long texts are long, and reading them takes long.", "Grace Hopper", "Read with the μP notes."),
    paper(8, "Multi-Modal learning", "Pictures and words.", "Karl Beispiel", code=["example/µnet"]),
)


def build(folder: Path, papers: Iterable[IndexDocument]) -> list[int]:
    """Updates the index in a folder; returns the keys that it asked for."""
    by_key = {p.key: p for p in papers}
    keys = np.asarray(sorted(by_key), dtype=np.int64)
    asked: list[int] = []

    def texts(wanted: Keys) -> Iterable[IndexDocument]:
        asked.extend(wanted.tolist())
        return [by_key[int(key)] for key in wanted]

    LexicalIndex.update(folder, keys, digests([hashlib.md5(repr(by_key[int(k)]).encode()).hexdigest() for k in keys]), texts)
    return asked


@pytest.fixture
def index(tmp_path: Path) -> LexicalIndex:
    build(tmp_path / "lexical", PAPERS)
    return LexicalIndex.read(tmp_path / "lexical")


def many(number: int) -> list[IndexDocument]:
    """Papers of random words, of few enough words that tantivy keeps every length exactly."""
    random = np.random.default_rng(3)
    vocabulary = [f"word{chr(97 + i)}{chr(97 + j)}" for i in range(12) for j in range(12)]
    return [
        paper(key, "", " ".join(random.choice(vocabulary[: 4 + key % 140], random.integers(1, 39))))
        for key in range(1, number + 1)
    ]


def brute_force(contents: Mapping[int, str], query: str) -> dict[int, float]:
    """Okapi BM25 with k1 = 1.2, b = 0.75 over texts by key."""
    counts = {key: Counter(index_terms(content)) for key, content in contents.items()}
    mean = sum(c.total() for c in counts.values()) / len(counts)
    scores: dict[int, float] = {}
    for term in set(index_terms(query)):
        holding = [key for key, c in counts.items() if term in c]
        idf = log(1 + (len(counts) - len(holding) + 0.5) / (len(holding) + 0.5))
        for key in holding:
            n, length = counts[key][term], counts[key].total()
            scores[key] = scores.get(key, 0.0) + idf * n * 2.2 / (n + 1.2 * (0.25 + 0.75 * length / mean))
    return scores


def abstracts(papers: Iterable[IndexDocument]) -> dict[int, str]:
    return {p.key: p.card.paper.abstract for p in papers}


def test_scores_are_bm25(tmp_path: Path) -> None:
    papers = many(500)
    build(tmp_path / "lexical", papers)
    index = LexicalIndex.read(tmp_path / "lexical")
    for query in ("wordaa", "wordab wordbc wordcd", "wordla wordkb nothing"):
        exact = brute_force(abstracts(papers), query)
        keys, scores = index.search(query, 1000)
        assert set(keys.tolist()) == set(exact)
        np.testing.assert_allclose(scores, [exact[int(key)] for key in keys], rtol=1e-4)
        assert (np.diff(scores) <= 0).all()
        wanted = np.asarray([7, 450, 3, 12], dtype=np.int64)
        np.testing.assert_allclose(index.scores(query, wanted), [exact.get(int(k), 0.0) for k in wanted], rtol=1e-4)


def test_a_score_is_the_weighted_sum_over_the_fields(tmp_path: Path) -> None:
    papers = [
        paper(1, "graph trees", "graph search"),
        paper(2, "search", "trees graph graph", notes="graph"),
        paper(3, "trees", "nothing else", notes="trees trees"),
        paper(4, "other", "matters", "Ada Lovelace"),
    ]
    build(tmp_path / "lexical", papers)
    keys, scores = LexicalIndex.read(tmp_path / "lexical").search("graph trees Lovelace", 10)
    expected = np.zeros(4)
    for field, weight in (("title", 0.3), ("text", 1.0), ("notes", 0.5), ("families", 0.5)):
        contents = {p.key: contents_of(p, field) for p in papers}
        for key, score in brute_force(contents, "graph trees lovelace").items():
            expected[key - 1] += weight * score
    np.testing.assert_allclose(scores, expected[keys - 1], rtol=1e-5)
    assert set(keys.tolist()) == {1, 2, 3, 4}


def contents_of(text: IndexDocument, field: str) -> str:
    """What is indexed of a paper in a field."""
    paper = text.card.paper
    families = " ".join(author.family for author in paper.authors)
    return {"title": paper.title, "text": f"{paper.title} {paper.abstract}", "notes": text.notes, "families": families}[field]


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.002])
def test_filters_leave_k_results_whenever_k_exist(tmp_path: Path, share: float) -> None:
    papers = many(1000)
    build(tmp_path / "lexical", papers)
    index = LexicalIndex.read(tmp_path / "lexical")
    allowed = np.sort(np.random.default_rng(1).choice(np.arange(1, 1001), int(share * 1000), replace=False))
    found = brute_force(abstracts(papers), "wordab wordcd wordaa")
    exact = {key: score for key, score in found.items() if key in set(allowed.tolist())}
    keys, scores = index.search("wordab wordcd wordaa", 20, allowed)
    assert len(keys) == min(20, len(exact))
    np.testing.assert_allclose(scores, sorted(exact.values(), reverse=True)[:20], rtol=1e-4)


@pytest.mark.parametrize(
    ("query", "kind", "keys"),
    [
        ("LoRA", "short_name", {1}),
        ("LoRA", "exact", {1, 2}),  # not the radio, LoRa
        ("LoRA", "folded", {1, 2, 3}),
        ("lora", "folded", {1, 2, 3}),
        ("GPT-J", "exact", {2}),
        ("gpt j", "folded", {2}),
        ("µTransfer", "exact", {4}),
        ("μtransfer", "folded", {4}),
        ("O(n²)", "exact", {4, 6}),
        ("O(n^2)", "exact", {4, 6}),
        ("µnet", "folded", {8}),
        ("quadratic ATTENTION!", "title", {6}),
        ("Yann LeCun", "author", {3, 5}),
        ("lecun", "author", {3, 5}),
        ("LeCun, Yann", "author", {3, 5}),
        ("Leon Bottou", "author", {5}),
        ("Hopper", "author", {7}),
        ("long", "author", set()),  # rather a word than the name of Yang Long
        ("multi modal", "folded", set()),
        ("low-rank adaptation", "short_name", set()),
    ],
)
def test_names(index: LexicalIndex, query: str, kind: str, keys: set[int]) -> None:
    assert set(getattr(index.find_names(query), kind)) == keys


def test_notes_authors_and_code_are_searched(index: LexicalIndex) -> None:
    assert index.search("μP", 1)[0].tolist() == [7]
    assert index.search("papers by Hopper", 1)[0].tolist() == [7]
    assert index.search("example/µnet", 1)[0].tolist() == [8]


def test_words_that_nobody_has(index: LexicalIndex) -> None:
    for query in ("zebra", "the of and", "", "!?", "AND OR NOT (", 'title:"'):
        keys, scores = index.search(query, 5)
        assert keys.shape == scores.shape == (0,)


def test_a_long_query_counts_each_term_as_often_as_it_has_it(tmp_path: Path) -> None:
    """Against BM25 worked out by hand: k1 1.2, b 0.75, the query's frequency as a factor (Robertson and Zaragoza 2009)."""
    texts = ["alpha beta beta", "alpha gamma gamma gamma", "beta gamma", "delta"]
    papers = [paper(number, "", text) for number, text in enumerate(texts, start=1)]
    build(tmp_path / "lexical", papers)
    query = " ".join(["alpha beta beta gamma"] + [f"unheardof{number}" for number in range(60)])
    found, scores = LexicalIndex.read(tmp_path / "lexical").search(query, 5)
    mean = sum(len(text.split()) for text in texts) / len(texts)

    def bm25(text: str) -> float:
        words, value = text.split(), 0.0
        for term, asked in (("alpha", 1), ("beta", 2), ("gamma", 1)):
            n = sum(term in other.split() for other in texts)
            tf = words.count(term)
            idf = np.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            value += asked * idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(words) / mean))
        return value

    expected = {number: bm25(text) for number, text in enumerate(texts, start=1)}
    assert found.tolist() == sorted([1, 2, 3], key=lambda number: -expected[number])
    np.testing.assert_allclose(scores, [expected[number] for number in found.tolist()], rtol=1e-4)


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("oversmoothing", {1, 2}),  # written as one word, and with a hyphen
        ("over-smoothing", {1, 2}),
        ("over smoothing", {1, 2}),
        ("regularisation", {3, 4}),  # British and American
        ("regularization", {3, 4}),
        ("behaviour", {5, 6}),
        ("poincare", {7}),  # an accent in TeX
        ("Poincaré", {7}),
    ],
)
def test_variants_of_a_word_are_one_word(tmp_path: Path, query: str, best: set[int]) -> None:
    texts = [
        "Oversmoothing in deep networks", "Over-smoothing of nodes", "Regularisation by noise", "Regularization by dropout",
        "The behaviour of agents", "Human behavior in games", "Embeddings in the Poincar\\'e ball", "Beyond the hills",
    ]  # fmt: skip
    build(tmp_path / "lexical", [paper(number, "", text) for number, text in enumerate(texts * 3, start=1)])
    index = LexicalIndex.read(tmp_path / "lexical")
    found = index.search(query, 3 * len(best))[0]
    assert {(key - 1) % len(texts) + 1 for key in found.tolist()} == best


def test_acronyms_and_their_long_forms_are_learned_from_the_papers(tmp_path: Path) -> None:
    defining = [paper(number, "", f"Graph neural networks (GNNs) for task {number}") for number in range(1, 4)]
    others = [
        paper(4, "", "A graph neural network that scales"),
        paper(5, "", "GNN layers"),
        paper(6, "", "A graph of neural cells, no network"),
        paper(7, "", "A network of roads"),
    ]
    build(tmp_path / "lexical", [*defining, *others])
    index = LexicalIndex.read(tmp_path / "lexical")
    assert set(index.search("GNN", 10)[0].tolist()) == {1, 2, 3, 4, 5, 6}
    assert set(index.search("gnns", 10)[0].tolist()) == {1, 2, 3, 4, 5, 6}
    assert 5 in index.search("graph neural networks", 10)[0].tolist()
    scores = dict(zip(*map(np.ndarray.tolist, index.search("GNN", 10)), strict=True))
    np.testing.assert_allclose(index.scores("GNN", np.array([4, 7])), [scores[4], 0], rtol=1e-5)


def test_one_paper_alone_makes_no_acronym(tmp_path: Path) -> None:
    build(tmp_path / "lexical", [paper(1, "", "Graph neural networks (GNNs)"), paper(2, "", "A graph neural network")])
    assert LexicalIndex.read(tmp_path / "lexical").search("GNN", 10)[0].tolist() == [1]


@pytest.fixture
def never_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted papers stay in the files, as they do in a large index."""
    monkeypatch.setattr("kb.index.lexical._MAX_REBUILT_DOCUMENTS", 0)
    monkeypatch.setattr("kb.index.lexical._MAX_DELETED_SHARE", 1.0)


def of_equal_length(keys: Iterable[int], seed: int) -> list[IndexDocument]:
    """Papers of 30 random words, the first of which is in few papers."""
    random = np.random.default_rng(seed)
    return [
        paper(key, f"rare{'abcdefghij'[key % 10]} study", " ".join(f"word{chr(97 + n)}" for n in random.integers(0, 20, 30)))
        for key in keys
    ]


def grow(folder: Path) -> list[IndexDocument]:
    """Build an index in five steps of papers added, changed and removed; return the papers that it holds in the end."""
    papers = {p.key: p for p in of_equal_length(range(1, 201), 0)}
    for step in range(5):
        build(folder, papers.values())
        papers |= {p.key: p for p in of_equal_length(range(1 + 20 * step, 31 + 20 * step), step + 1)}
        papers |= {p.key: p for p in of_equal_length(range(201 + 20 * step, 221 + 20 * step), step + 1)}
        for key in range(150 + 10 * step, 157 + 10 * step):
            del papers[key]
    build(folder, papers.values())
    return list(papers.values())


QUERIES = ("rarea study", "wordb worda rarec", "worda", "raref rareg rareh wordt nothing")


def test_a_small_index_answers_the_same_however_its_papers_came(tmp_path: Path) -> None:
    build(tmp_path / "rebuilt", grow(tmp_path / "grown"))
    grown, rebuilt = LexicalIndex.read(tmp_path / "grown"), LexicalIndex.read(tmp_path / "rebuilt")
    for query in QUERIES:
        for one, other in zip(grown.search(query, 300), rebuilt.search(query, 300), strict=True):
            assert one.tolist() == other.tolist()
        assert grown.term_weights(query) == rebuilt.term_weights(query)


def test_equal_scores_come_by_their_keys(tmp_path: Path) -> None:
    papers = of_equal_length(range(1, 201), 0)
    build(tmp_path, papers)
    index = LexicalIndex.read(tmp_path)
    every, scores = index.search("study wordc", 200)
    order = np.lexsort((every, -scores))
    assert every.tolist() == every[order].tolist()
    assert len(set(scores.tolist())) < 20  # so that most cuts go through equals
    for k in (1, 2, 5, 30, 77, 150):
        assert index.search("study wordc", k)[0].tolist() == every[:k].tolist()


@pytest.mark.usefixtures("never_rebuilt")
def test_deleted_papers_do_not_count_in_a_large_index(tmp_path: Path) -> None:
    papers = grow(tmp_path / "grown")
    build(tmp_path / "rebuilt", papers)
    grown, rebuilt = LexicalIndex.read(tmp_path / "grown"), LexicalIndex.read(tmp_path / "rebuilt")
    keys = np.asarray([p.key for p in papers], dtype=np.int64)
    for query in QUERIES:
        np.testing.assert_allclose(grown.scores(query, keys), rebuilt.scores(query, keys), rtol=1e-4)
        assert grown.term_weights(query) == rebuilt.term_weights(query)
        assert sorted(grown.search(query, 300)[0].tolist()) == sorted(rebuilt.search(query, 300)[0].tolist())


@pytest.mark.usefixtures("never_rebuilt")
def test_the_frequency_of_a_common_term_is_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.index.lexical._MAX_COUNTED_FREQUENCY", 0)
    papers = grow(tmp_path / "grown")
    weights = LexicalIndex.read(tmp_path / "grown").term_weights("study rarea")
    holding = sum("rarea" in p.card.paper.title for p in papers)
    assert weights["studi"] == pytest.approx(log(1 + 0.5 / (len(papers) + 0.5)))  # all papers have it
    assert weights["rarea"] == pytest.approx(log(1 + (len(papers) - holding + 0.5) / (holding + 0.5)), rel=0.15)


def test_an_index_is_rebuilt_after_a_share_of_deletions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.index.lexical._MAX_REBUILT_DOCUMENTS", 0)
    papers = of_equal_length(range(1, 101), 0)
    build(tmp_path, papers)
    assert build(tmp_path, [*of_equal_length(range(1, 4), 1), *papers[3:]]) == [1, 2, 3]
    assert build(tmp_path, [*of_equal_length(range(1, 3), 2), *papers[2:]]) == list(range(1, 101))  # six of a hundred in all
    assert build(tmp_path, papers) == [1, 2]  # counted from the rebuild on


@pytest.mark.usefixtures("never_rebuilt")
def test_only_what_changed_is_read_and_old_files_stay_as_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert sorted(build(old, PAPERS)) == [1, 2, 3, 4, 5, 6, 7, 8]
    new.mkdir()
    for path in old.iterdir():
        (new / path.name).hardlink_to(path)
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    changed = [paper(2, "Protein folding", "Structures."), *PAPERS[2:], paper(9, "New")]
    assert sorted(build(new, changed)) == [2, 9]
    assert build(new, changed) == []
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    found, former = LexicalIndex.read(new), LexicalIndex.read(old)
    assert len(found) == 8
    assert found.search("protein", 5)[0].tolist() == [2]
    assert found.find_names("LoRA").short_name == ()
    assert former.find_names("LoRA").short_name == (1,)


FULL = Card(
    Paper(
        "arxiv:1706.03762",
        "Attention \N{SNOWMAN} \U0001d4d0 \x00 is <all>",
        "It's $O(n^2)$.\n" * 3,
        (Author("Vaswani", "Ashish", "Jr."), Author("Œuvre")),
        ("cs.CL", "cs.LG"),
        "15 pages",
        "NeurIPS 2017",
        "10.1/x",
        "cc0",
        "https://x.org/",
        date(2017, 6, 12),
        date(2023, 8, 2),
        2017,
        (Version(1, datetime(2017, 6, 12, 17, 57, 34)), Version(2)),
        withdrawn=True,
    ),
    (
        CodeLink("https://github.com/a/b", "abstract", True, 7, 0.95, "said", "jax", datetime(2026, 1, 2, 3, 4, 5, 678), True),
        CodeLink("https://github.com/a/c", "notes"),
    ),
    (
        Note(
            "/tmp/notes.md",
            3,
            "arxiv:1706.03762",
            "T",
            "*body*",
            ("A. B.",),
            "ICML",
            2018,
            "https://y.org",
            "S",
            ("tag",),
            (Mention("repository", "https://github.com/a/c", "code", 4, 9, "r"), Mention("web", "https://z.org", "z", 5)),
        ),
        Note("/tmp/other.md", 1, "arxiv:1706.03762", ""),
    ),
)


@pytest.mark.usefixtures("never_rebuilt")
def test_cards_come_back_as_they_were_given(tmp_path: Path) -> None:
    papers = [*many(400), IndexDocument(500, FULL, "body"), IndexDocument(501, Card(Paper("url:https://x.org/501", "Bare")))]
    build(tmp_path / "lexical", papers)
    index = LexicalIndex.read(tmp_path / "lexical")
    wanted = [501, 500, *range(1, 301)]
    assert index.cards([*wanted, 600]) == {text.key: text.card for text in papers if text.key in wanted}
    assert index.cards([]) == index.cards([600]) == {}
    changed = replace(FULL, code=FULL.code[:1])
    assert build(tmp_path / "lexical", [*papers[:400], IndexDocument(500, changed, "body")]) == [500]
    assert LexicalIndex.read(tmp_path / "lexical").cards([500, 501]) == {500: changed}


def test_a_damaged_card_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.index.lexical._CARD_ENCODER", SimpleNamespace(encode=lambda card: card.paper.title.encode()))
    build(tmp_path, PAPERS)
    with pytest.raises(StoreError, match="kb doctor --repair"):
        LexicalIndex.read(tmp_path).cards([1])


def test_an_index_of_an_earlier_version_is_searched_and_built_anew(tmp_path: Path) -> None:
    """It has no cards, and another name for its list of documents."""
    folder = tmp_path / "lexical"
    build(folder, PAPERS)
    documents = np.load(folder / "documents-3.npy")
    former = make_former(folder)
    np.save(folder / "documents-1.npy", documents)
    index = LexicalIndex.read(folder)
    assert index.search("protein", 5)[0].tolist() == [1]
    assert index.cards([1]) == {}
    with pytest.raises(StoreError, match="earlier version"):
        LexicalIndex.indexed_documents(folder)
    assert sorted(build(folder, PAPERS)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert LexicalIndex.read(folder).cards([8]) == {8: PAPERS[7].card}
    assert former.isdisjoint(path.name for path in folder.iterdir())


def make_former(folder: Path) -> set[str]:
    """Put an index in the folder as version 0.1 made it before there were cards: one paper, 1. Returns its files' names."""
    for path in folder.iterdir():
        path.unlink()
    builder = tantivy.SchemaBuilder().add_unsigned_field("key", indexed=True, fast=True)
    for field in ("title", "text", "notes", "authors", "families", "names", "whole_title", "short_name"):
        builder.add_text_field(field, index_option="position" if field == "authors" else "freq")
    index = tantivy.Index(builder.build(), path=str(folder))
    writer = index.writer(15_000_000, 1)
    writer.add_document(tantivy.Document.from_dict({"key": 1, "text": "protein"}, index.schema))
    writer.commit()
    writer.wait_merging_threads()
    return {path.name for path in folder.iterdir() if path.name not in {"meta.json", ".managed.json"} and path.suffix != ".lock"}


def test_a_damaged_folder_is_told(tmp_path: Path) -> None:
    build(tmp_path, PAPERS)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(StoreError, match="kb index"):
        LexicalIndex.read(tmp_path)
    with pytest.raises(StoreError, match="kb index"):
        LexicalIndex.read(tmp_path / "nowhere")


def test_texts_made_plain() -> None:
    assert normalize_text(r"R\'enyi and Schr{\"o}dinger") == "Rényi and Schrödinger"
    assert index_terms(r"the R\'enyi divergence") == index_terms("Rényi divergence") == ["renyi", "diverg"]
    assert normalize_text(r"$\mu$Transfer in \mathcal{O}(n^2), O(n²) and µP") == "μTransfer in  O(n2), O(n2) and μP"
    assert technical_names("With GPT-J, U-Net, C++ and Self-Supervised (LoRA) at O(n2) on 3D data.") == [
        "GPT-J", "U-Net", "C++", "LoRA", "O(n2)", "3D",
    ]  # fmt: skip
    assert fold("GPT-J") == fold("gpt j") == "gptj"
    assert short_name("LoRA: Low-Rank Adaptation") == "lora"
    assert short_name("What we talk about when: a study") == ""


def test_every_file_can_be_read_by_whoever_can_read_the_others(tmp_path: Path) -> None:
    """Tantivy writes `.managed.json` for its user alone, whatever the umask."""
    build(tmp_path, PAPERS)
    (tmp_path / "plain").write_text("")
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert ".managed.json" in modes
    assert set(modes.values()) == {modes["plain"]}
