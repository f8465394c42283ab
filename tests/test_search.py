"""The pipeline over a real knowledge base with the real model."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from ingest.jobs.run import run_index, run_notes, run_snapshot
from kb.encode.encoder import Encoder, Vectors
from kb.errors import ModelError, QueryError, StoreError
from kb.index.dense import DENSE_FILE
from kb.index.lexical import LexicalIndex
from kb.models.marge.encoder import RelevanceModel
from kb.models.marge.weights import BUNDLED
from kb.papers import CodeLink, embedding_text
from kb.search.retriever import Candidates, Query, fuse
from kb.search.searcher import Hit, Searcher, final_scores, find_paper
from kb.store import Filters, Home


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Home:
    """Two hundred papers on five topics, embedded."""
    import json

    folder = tmp_path_factory.mktemp("search")
    (folder / "papers.jsonl").write_text("\n".join(json.dumps(record(i)) for i in range(200)))
    home = Home(folder / "kb")
    run_snapshot(home, [folder / "papers.jsonl"])
    run_index(home, encoder)
    return home


@pytest.fixture
def searcher(base: Home, encoder: Encoder) -> Searcher:
    return Searcher.open(base, encoder)


def test_scores_are_those_of_brute_force(searcher: Searcher, encoder: Encoder) -> None:
    catalogue = searcher.catalogue
    texts = catalogue.texts(catalogue.documents().keys)
    keys = sorted(texts)
    ids = [catalogue.papers([key])[key].id for key in keys]
    vectors = encoder.encode([embedding_text(*texts[key]) for key in keys])
    for text in ("energy of molecules", "speech with little supervision", "chess engines"):
        exact = dict(zip(ids, vectors @ encoder.encode([text])[0], strict=True))
        hits = searcher.search(text, 200)
        assert [hit.rank for hit in hits] == list(range(1, 201))
        assert {hit.paper.id for hit in hits} == set(ids)
        # Stored in half precision.
        np.testing.assert_allclose([hit.scores["dense"] for hit in hits], [exact[hit.paper.id] for hit in hits], atol=3e-3)
        assert (np.diff([hit.scores["rerank"] for hit in hits]) <= 0).all()
        assert (np.diff([hit.score for hit in hits]) <= 0).all()
        assert {hit.scores["lexical"] > 0 for hit in hits if text.split()[0] in hit.paper.title.lower()} <= {True}


def test_a_phrase_finds_its_topic(searcher: Searcher) -> None:
    hits = searcher.search("translating languages without parallel corpora", 40)
    assert all(hit.paper.title.startswith("Translation between rare languages") for hit in hits)


def test_a_hit_carries_its_code(searcher: Searcher) -> None:
    hit = find_paper(searcher.catalogue, "1504.00004")
    evidence = "the text says that it is released there"
    assert hit.code == (CodeLink("https://github.com/example/repo3", "comments", confidence=0.95, evidence=evidence),)
    assert hit.url == "https://arxiv.org/abs/1504.00004"
    assert hit.as_json()["code"] == [
        {"url": "https://github.com/example/repo3", "source": "comments", "official": None, "stars": None}
    ]


def test_a_hit_says_what_the_catalogue_says(searcher: Searcher) -> None:
    keys = searcher.catalogue.documents().keys.tolist()
    cards = searcher.catalogue.cards(keys)
    assert {hit.paper.id: (hit.paper, hit.code, hit.notes) for hit in searcher.search("energy", 200)} == {
        card.paper.id: (card.paper, card.code, card.notes) for card in cards.values()
    }
    assert any(card.code for card in cards.values())


def test_a_hit_says_the_same_where_the_index_has_no_cards(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of an earlier version has none."""
    hits = searcher.search("energy of molecules", 50)
    monkeypatch.setattr(LexicalIndex, "cards", lambda *_: {})
    assert searcher.search("energy of molecules", 50) == hits


def test_a_closed_searcher_leaves_no_threads(base: Home, encoder: Encoder) -> None:
    def lexical_threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("lexical")}

    before = lexical_threads()
    with Searcher.open(base, encoder) as searcher:
        searcher.search("energy of molecules")
        own = lexical_threads() - before
        assert own
    for thread in own:
        thread.join(10)
        assert not thread.is_alive()


def test_a_paper_that_is_not_in_the_index_yet_is_found_by_its_title(
    base: Home, tmp_path: Path, write_snapshot: Callable[..., Path], encoder: Encoder
) -> None:
    home = Home(shutil.copytree(base.path, tmp_path / "kb"))
    run_snapshot(home, [write_snapshot([record(200)])])
    with Searcher.open(home, encoder) as searcher:
        title = searcher.catalogue.papers([201])[201].title
        hits = searcher.search(title, 3)
        assert (hits[0].paper.title, hits[0].scores) == (title, {})
        assert len({hit.paper.id for hit in hits}) == 3


@pytest.mark.parametrize("query", ["1504.00004", "https://arxiv.org/pdf/1504.00004v1", "arXiv:1504.00004 , 1504.00004"])
def test_an_id_asks_for_the_like_of_it_and_comes_first(searcher: Searcher, query: str) -> None:
    hits = searcher.search(query, 5)
    assert hits[0].paper.id == "arxiv:1504.00004"
    assert len({hit.paper.id for hit in hits}) == 5
    assert [h.paper.id for h in hits[1:]] == [h.paper.id for h in searcher.like(["1504.00004"], k=4)]


def test_an_exact_title_comes_first(searcher: Searcher) -> None:
    title = "learning to plan in board games PART 8"
    assert searcher.search(title, 3)[0].paper.title == "Learning to plan in board games, part 8"


def test_unknown_ids_are_said_to_be_unknown(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match=r"arxiv:1706\.03762 is not in the knowledge base"):
        searcher.search("1706.03762")
    with pytest.raises(QueryError, match="not in the knowledge base"):
        searcher.like(["1706.03762"])
    with pytest.raises(QueryError, match=r"There is no such paper: '9999\.99999' has the form of an arXiv identifier but cannot"):
        searcher.search("1504.00004 9999.99999")
    assert searcher.search("9999.99999 papers")  # words


def test_examples_good_and_bad(searcher: Searcher) -> None:
    graphs, speech = "1501.00001", "1502.00002"
    hits = searcher.like([graphs, speech], k=50)
    assert not {graphs, speech} & {hit.paper.id.removeprefix("arxiv:") for hit in hits}
    away = searcher.like([graphs, speech], unlike=["1507.00007"], k=50)  # another on speech

    def speech_share(found: list[object]) -> int:
        return sum("Speech" in hit.paper.title for hit in found[:30])  # type: ignore[attr-defined]

    assert speech_share(list(away)) < speech_share(list(hits))
    assert "arxiv:1507.00007" not in {hit.paper.id for hit in away}


def test_the_dense_score_of_several_examples(searcher: Searcher, encoder: Encoder) -> None:
    """(mean + max) / 2 of the cosines to text and good examples, less a fifth of the mean cosine to the bad ones."""
    retriever = searcher._require_retriever()
    like, unlike, text = (1, 2, 3), (7, 12), "speech recognition"
    found = retriever.candidates(Query(text, like, unlike), 200, None)
    relevance = RelevanceModel.read(BUNDLED, encoder.fingerprint)
    queries = np.concatenate([encoder.encode([text]), retriever.dense.vectors(np.array(like))])
    stored = relevance.adapt(retriever.dense.vectors(found.keys))
    cosines = stored @ relevance.adapt(queries).T
    away = stored @ relevance.adapt(retriever.dense.vectors(np.array(unlike))).T
    expected = [(sum(row) / 4 + max(row)) / 2 - 0.2 * (one + other) / 2 for row, (one, other) in zip(cosines, away, strict=True)]
    assert len(found) == 195
    np.testing.assert_allclose(found.dense, expected, atol=1e-6)


def test_text_with_examples(searcher: Searcher) -> None:
    hits = searcher.like(["1501.00001"], text="speech recognition", k=60)
    topics = {hit.paper.title.split(",")[0] for hit in hits}
    assert {"Graph neural networks for molecules", "Speech recognition with few labels"} <= topics


@pytest.mark.parametrize(
    "filters",
    [Filters(categories=("stat",)), Filters(years=(2015, 2015), has_code=True), Filters(author="number7")],
)
def test_filters_leave_k_results_whenever_k_exist(searcher: Searcher, filters: Filters) -> None:
    allowed = searcher.catalogue.select(filters)
    assert allowed is not None
    passing = {paper.id for paper in searcher.catalogue.papers(allowed.tolist()).values()}
    everything = {hit.paper.id: hit for hit in searcher.search("chess", 200)}
    for k in (1, 20, 200):
        hits = searcher.search("chess", k, filters)
        assert len(hits) == min(k, len(passing))
        assert {hit.paper.id for hit in hits} <= passing
        for hit in hits:  # a filter changes nothing of what each index says of a paper
            for stage in ("dense", "lexical"):
                assert hit.scores[stage] == pytest.approx(everything[hit.paper.id].scores[stage], rel=1e-4)


def test_a_filter_that_nothing_passes(searcher: Searcher) -> None:
    assert searcher.search("chess", 5, Filters(author="nobody at all")) == []


def test_empty_queries_are_refused(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match="empty"):
        searcher.search("  \n ")
    with pytest.raises(QueryError, match="at least one"):
        searcher.like([])
    with pytest.raises(QueryError, match="at least one result"):
        searcher.search("chess", 0)


@pytest.fixture
def names(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Searcher:
    """Papers with names, among others that talk of the same."""
    people = [["Hu", "Edward", ""], ["Shen", "Yelong", ""]]
    named = [
        record(500, title="LoRA: Low-Rank Adaptation of Large Models", abstract="Weights are frozen.", authors_parsed=people),
        record(501, title="Which adapters to use", abstract="We compare LoRA, and LoRA, with GPT-J. It is cheap."),
        record(502, title="LoRa radio for sensors", abstract="LoRa LoRa LoRa gateways."),
        record(503, title="Scaling", abstract=r"Hyperparameters are transferred by $\mu$Transfer. It costs $O(n^2)$ time."),
        record(
            504, title="Low-rank adaptation", abstract="LoRA withdrawn.", comments="This paper has been withdrawn by the author"
        ),
    ]
    run_snapshot(home, [write_snapshot([*(record(i) for i in range(60)), *named])])
    run_index(home, encoder)
    return Searcher.open(home, encoder)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("LoRA", ["arxiv:1509.00501", "arxiv:1510.00502"]),
        ("GPT-J", ["arxiv:1510.00502"]),
        ("gpt j", ["arxiv:1510.00502"]),
        ("µTransfer", ["arxiv:1512.00504"]),
        ("O(n²)", ["arxiv:1512.00504"]),
        ("Edward Hu", ["arxiv:1509.00501"]),
        ("hu", ["arxiv:1509.00501"]),
        ("scaling", ["arxiv:1512.00504"]),
    ],
)
def test_what_is_named_comes_first(names: Searcher, query: str, first: list[str]) -> None:
    assert [hit.paper.id for hit in names.search(query, 10)][: len(first)] == first


def test_withdrawn_papers_come_last_but_where_they_are_named(names: Searcher) -> None:
    hits = names.search("adapting models by low-rank matrices", 65)
    assert [hit.paper.withdrawn for hit in hits] == [False] * 64 + [True]
    assert names.search("low-rank adaptation", 3)[0].paper.withdrawn


def test_the_sentence_that_matches_is_shown(names: Searcher) -> None:
    assert names.search("comparing LoRA and GPT-J")[0].matched == "We compare LoRA, and LoRA, with GPT-J."
    assert names.search("zebra")[0].matched == ""


def test_hits_that_do_not_fit_say_so(searcher: Searcher) -> None:
    assert not any(hit.fits for hit in searcher.search("zzqx vrblk"))
    assert not any(hit.fits for hit in searcher.search("lasagne with spinach"))
    assert all(hit.fits for hit in searcher.search("a tree search plays chess"))
    assert all(hit.fits for hit in searcher.like([searcher.search("chess", 1)[0].paper.id]))


def test_a_misspelt_word_becomes_one_of_the_papers_titles(searcher: Searcher) -> None:
    assert searcher.correct_spelling("speach recogntion") == "speech recognition"
    assert searcher.correct_spelling("speech recognition") == "speech recognition"
    assert searcher.correct_spelling("zzqx vrblk") == "zzqx vrblk"


def test_a_paper_known_from_a_note_alone_comes_after_full_papers(base: Home, tmp_path: Path, encoder: Encoder) -> None:
    home = Home(tmp_path / "kb")
    shutil.copytree(base.path, home.path)
    (tmp_path / "notes.md").write_text("- [Learning to plan in board games, part 500](https://arxiv.org/abs/2401.12345)\n")
    run_notes(home, [tmp_path / "notes.md"])
    run_index(home, encoder)
    with Searcher.open(home, encoder) as searcher:
        hits = searcher.search("learning to plan in board games", 60)
        (place,) = [hit.rank for hit in hits if hit.paper.id == "arxiv:2401.12345"]
        assert place == 41  # of forty full papers on the same
        named = searcher.search("Learning to plan in board games, part 500", 1)
        assert named[0].paper.id == "arxiv:2401.12345"


def test_without_words_in_common_the_vectors_decide(names: Searcher) -> None:
    hits = names.search("zzz qqq", 10)
    assert {hit.scores["lexical"] for hit in hits} == {0.0}
    assert len(hits) == 10


def test_reranking_can_be_switched_off(base: Home, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_RERANKER", "none")
    with Searcher.open(base, encoder) as searcher:
        hits = searcher.search("chess", 5)
    assert all(hit.scores.keys() == {"dense", "lexical"} for hit in hits)
    assert (np.diff([hit.score for hit in hits]) <= 0).all()


def test_final_scores_keep_the_order_on_the_scale_of_cosines() -> None:
    cosines = np.float32([0.5, 0.2, 0.4, 0.1])
    found = Candidates(np.arange(1, 5), cosines, cosines, np.float32([3, 1, 0, -1]), np.eye(4, dtype=np.float32))
    order = np.float32([9, 4, 4 - 1e-3, 4 - 1e-3 - 1])  # two were reranked; the others keep their distances behind these
    expected = cosines.mean() + cosines.std() * (order - order.mean()) / order.std()
    np.testing.assert_allclose(final_scores(found, np.float32([9, 4])), expected, rtol=1e-4)
    assert final_scores(found, np.float32([])).argsort().tolist() == [3, 2, 1, 0]
    assert final_scores(
        Candidates(*(a[:0] for a in (found.keys, cosines, cosines, cosines, found.vectors))), cosines[:0]
    ).shape == (0,)


def test_scores_of_two_queries_compare(searcher: Searcher) -> None:
    """A question about what is there scores higher than one about what is not."""
    near, far = (searcher.search(text, 1)[0].score for text in ("attention heads of vision transformers", "soups of the Alps"))
    assert near > far + 0.2


def test_papers_are_compared_with_examples_by_the_trained_model(base: Home, searcher: Searcher, encoder: Encoder) -> None:
    """And with a phrase by the encoder alone, to the last bit."""
    plain = Searcher.open(base, encoder, RelevanceModel(1.0, None))
    phrase = "energy of molecules"
    assert searcher.search(phrase, 50) == plain.search(phrase, 50)
    example = searcher.catalogue.key_of("arxiv:1502.00002")
    assert example is not None
    adapt = RelevanceModel.read(BUNDLED, encoder.fingerprint).adapt
    keys = {hit.paper.id: searcher.catalogue.key_of(hit.paper.id) for hit in searcher.like(["arxiv:1502.00002"], k=200)}
    vectors = adapt(searcher.index.vectors(np.asarray(list(keys.values()), dtype=np.int64)))
    cosines = vectors @ adapt(searcher.index.vectors(np.asarray([example])))[0]
    hits = searcher.like(["arxiv:1502.00002"], k=200)
    np.testing.assert_allclose([hit.scores["dense"] for hit in hits], cosines, atol=1e-5)
    found, _ = searcher.candidates(Query(like=(example,)), 10)
    np.testing.assert_allclose(found.vectors, adapt(searcher.index.vectors(found.keys)), atol=1e-6)
    found, _ = searcher.candidates(Query(phrase), 10)
    np.testing.assert_array_equal(found.vectors, searcher.index.vectors(found.keys))
    assert [hit.scores["dense"] for hit in hits] != [hit.scores["dense"] for hit in plain.like(["arxiv:1502.00002"], k=200)]


def test_a_second_hop_adds_what_lies_near_to_the_best(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against brute force, with few candidates a round, so that the first does not find everything already."""
    monkeypatch.setattr("kb.search.retriever.CANDIDATE_DEPTH", 8)
    example = searcher.catalogue.key_of("arxiv:1502.00002")
    assert example is not None
    keys = searcher.index.keys()
    added = 0
    for query in (Query("energy of molecules"), Query(like=(example,)), Query("energy", filters=Filters(categories=("stat",)))):
        once, _ = searcher.candidates(query, 1)
        twice, reranked = searcher.candidates(replace(query, hops=2), 1)
        allowed = searcher.catalogue.select(query.filters)
        others = keys if allowed is None else allowed
        weights = np.exp(once.fused[:5] - once.fused[0])
        middle = weights @ searcher.index.vectors(once.keys[:5])
        cosines = searcher.index.vectors(others) @ middle
        near = others[np.argsort(-cosines, kind="stable")[: 8 + len(query.like)]]
        assert {*twice.keys.tolist()} == {*once.keys.tolist(), *near.tolist()} - {*query.like}
        added += len(twice) - len(once)
        assert len(reranked) == len(twice)
        assert (np.diff(twice.fused) <= 0).all()
        # What both hops know has the scores that it had.
        kept = [np.flatnonzero(twice.keys == key)[0] for key in once.keys]
        np.testing.assert_allclose(twice.dense[kept], once.dense, rtol=1e-6)
        np.testing.assert_allclose(twice.lexical[kept], once.lexical, rtol=1e-6)
    # Not of each query: which of the papers of one BM25 the first hop finds is left to the order in the index.
    assert added, "the test asks nothing"
    for hits in (partial(searcher.search, "energy of molecules"), partial(searcher.like, ["arxiv:1502.00002"])):
        # Of more candidates, each counts in another measure.
        assert [hit.scores["rerank"] for hit in hits(hops=2)] != [hit.scores["rerank"] for hit in hits()]


def test_an_abstract_counts_as_an_example(searcher: Searcher) -> None:
    """The vector of a long text says more of it than its words do."""
    phrase = "a tree search plays chess"
    for text, share in ((phrase, 0.4), (" ".join([phrase] * 12), 0.5)):
        found, _ = searcher.candidates(Query(text), 10)
        np.testing.assert_allclose(found.fused, fuse(found.dense, found.lexical, share), rtol=1e-5)


class _OtherModel:
    model_id = "other"
    fingerprint = "f" * 64
    dimension = 384

    def encode(self, *_: object) -> Vectors:
        raise AssertionError("must not be used")


def test_another_model_than_the_index_is_refused(base: Home) -> None:
    with Searcher.open(base, _OtherModel()) as searcher, pytest.raises(ModelError, match="kb index"):
        searcher.search("chess")


def test_nothing_embedded_yet(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> None:
    run_snapshot(home, [write_snapshot([record(1)])])
    with Searcher.open(home, encoder) as searcher, pytest.raises(QueryError, match="kb index"):
        searcher.search("chess")


def test_changed_and_removed_papers(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> None:
    path = write_snapshot([record(i) for i in range(20)])
    run_snapshot(home, [path])
    assert run_index(home, encoder).embedded == 20
    write_snapshot([record(3, title="Protein folding", abstract="Structures of proteins are predicted."), record(25)])
    run_snapshot(home, [path])
    # Until it is embedded anew the changed paper is not in the index, and the rest answers.
    with Searcher.open(home, encoder) as searcher:
        assert searcher.generation.manifest.embedded == 19
        assert len(searcher.search("proteins", 50)) == 19
    report = run_index(home, encoder)
    assert (report.embedded, report.already_embedded) == (2, 19)
    with Searcher.open(home, encoder) as searcher:
        assert searcher.search("proteins", 1)[0].paper.id == "arxiv:1504.00004"
    assert run_index(home, encoder).embedded == 0


def test_an_old_generation_still_open_answers_as_before(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder
) -> None:
    question = "speech recognition with few labels"
    run_snapshot(home, [write_snapshot([record(n) for n in range(20)])])
    run_index(home, encoder)
    with Searcher.open(home, encoder) as searcher:
        before = searcher.search(question, 10)
        for round_ in range(2):
            changed = [record(n, title=f"Replaced {round_} {n}", update_date=f"2021-01-0{round_ + 1}") for n in range(20)]
            run_snapshot(home, [write_snapshot(changed)])
            run_index(home, encoder)
        assert not searcher.generation.folder.exists()  # swept, and its files live on as long as they are open
        assert searcher.search(question, 10) == before
        assert searcher.like([before[0].paper.id], k=5)
    with Searcher.open(home, encoder) as searcher:
        assert all(hit.paper.title.startswith("Replaced 1") for hit in searcher.search(question, 10))


@pytest.mark.parametrize("name", ["dense.faiss", "dense.codes.faiss", "dense.keys.npy", "dense.gone.npy", "dense.vectors.npy"])
@pytest.mark.parametrize("place", [0.3, 0.999])
def test_a_dense_index_damaged_at_one_byte_answers_nothing_until_it_is_built_again(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch, name: str, place: float
) -> None:
    monkeypatch.setattr("kb.index.dense._MAX_FLAT", 15)
    run_snapshot(home, [write_snapshot([record(i) for i in range(20)])])
    run_index(home, encoder)
    run_snapshot(home, [write_snapshot([record(i) for i in range(25)])])
    run_index(home, encoder)  # 20 papers in the IVF-PQ part, 5 in the flat one
    with Searcher.open(home, encoder) as searcher:
        before = searcher.search("speech recognition", 25)
    path = home.open().folder / name
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)

    def search() -> list[Hit]:
        with Searcher.open(home, encoder) as searcher:
            return searcher.search("speech recognition", 25)

    with pytest.raises(StoreError, match=f"{name} .*kb index"):
        search()
    assert run_index(home, encoder).embedded == 0
    assert search() == before


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_damaged_index_is_mended_by_indexing(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder, damage: str
) -> None:
    run_snapshot(home, [write_snapshot([record(i) for i in range(10)])])
    run_index(home, encoder)
    path = home.open().folder / DENSE_FILE
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="kb index"):
        Searcher.open(home, encoder)
    assert run_index(home, encoder).embedded == 0  # the vectors are there
    with Searcher.open(home, encoder) as searcher:
        assert len(searcher.search("chess", 20)) == 10
