"""Exact phrases, excluded words, fields and names of authors: how queries are read, and that the right papers are found."""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.errors import QueryError, StoreError
from kb.papers import Paper
from kb.search.paper_kind import title_words_asked_for
from kb.search.query_syntax import Conditions, ParsedQuery, parse_query, phrase_forms, read_authors
from kb.search.retriever import Query
from kb.search.searcher import Searcher
from kb.store import Filters, Home
from kb.text.tokenize import normalize_text

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "papers.jsonl"

# Reading -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "text", "conditions"),
    [
        ('"chain of thought" prompting', "chain of thought prompting", Conditions(phrases=("chain of thought",))),
        ("“over-smoothing” GNN", "over-smoothing GNN", Conditions(phrases=("over-smoothing",))),
        ('("few shot")', "(few shot)", Conditions(phrases=("few shot",))),
        ("-survey", "", Conditions(excluded=("survey",))),
        ("agents -survey, -few-shot", "agents", Conditions(excluded=("survey", "few-shot"))),
        ('agents -"large language model"', "agents", Conditions(excluded=("large language model",))),
        ("detection -3D", "detection", Conditions(excluded=("3D",))),
        ("author:LeCun year:2015", "", Conditions(authors=("LeCun",), years=((2015, 2015),))),
        ('author:"Yann LeCun" author:Bottou nets', "nets", Conditions(authors=("Yann LeCun", "Bottou"))),
        ("author:Yann_LeCun", "", Conditions(authors=("Yann LeCun",))),
        ("author: LeCun year: 2015", "", Conditions(authors=("LeCun",), years=((2015, 2015),))),
        ("year:2019..2023 vision", "vision", Conditions(years=((2019, 2023),))),
        ("year:2019-2023 year:..2020", "", Conditions(years=((2019, 2023), (None, 2020)))),
        ("year:2019..", "", Conditions(years=((2019, None),))),
        ("title:attention heads", "attention heads", Conditions(titles=("attention",))),
        ('title:"attention heads"', "attention heads", Conditions(titles=("attention heads",))),
        ("category:cs.cl category:Physics.hist-ph llm", "llm", Conditions(categories=("cs.CL", "physics.hist-ph"))),
        ("category:cs.LG,stat.ml", "", Conditions(categories=("cs.LG", "stat.ML"))),
        ("category:cs code:yes", "", Conditions(categories=("cs",), has_code=True)),
    ],
)
def test_operators(query: str, text: str, conditions: Conditions) -> None:
    assert parse_query(query) == ParsedQuery(text, conditions)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "pre-training of state-of-the-art models",
        '"an unclosed quote',
        'a 5" disk',
        'nested"quotes"here',
        '""',
        '"!!!"',
        "learning rate -0.1 - survey",
        "--sort date",
        "author:",
        'author:"Yann LeCun',
        "year:19",
        "year:recent",
        "year:2019..2020..2021",
        "category:!",
        "code:available",
        "-author:LeCun",
        "title: a subtitle",
        "https://arxiv.org/abs/1706.03762",
        "arXiv:1706.03762",
        " ".join(['the so-called "attention sinks" of -survey year:2020'] * 9),  # as long as an abstract
    ],
)
def test_plain_text_stays_as_it_is(query: str) -> None:
    assert parse_query(query) == ParsedQuery(query)


def test_years_the_wrong_way_round_are_an_error() -> None:
    with pytest.raises(QueryError, match=r"2019\.\.2023"):
        parse_query("vision year:2023-2019")


def test_a_hyphen_of_a_phrase_matches_a_hyphen_a_space_or_nothing() -> None:
    assert list(phrase_forms("Over-Smoothing in GNNs")) == [["over", "smoothing", "in", "gnns"], ["oversmoothing", "in", "gnns"]]
    assert list(phrase_forms("over smoothing")) == [["over", "smoothing"]]
    assert list(phrase_forms("Schrödinger's\u2010eq")) == [["schrodinger", "s", "eq"], ["schrodinger", "seq"]]
    assert list(phrase_forms("$O(n^2)$ — !")) == [["o", "n2"]]
    assert len(list(phrase_forms(" ".join(["a-b"] * 20)))) == 2**4
    assert list(phrase_forms("...")) == []


@pytest.mark.parametrize(
    ("query", "names", "years", "topic"),
    [
        ("papers by Yann LeCun", [("Yann LeCun",)], (), ""),
        ("Recent papers by Yann LeCun on vision", [("Yann LeCun",)], (), "vision"),
        ("articles from LeCun in 2015", [("LeCun",)], ((2015, 2015),), ""),
        ("LeCun 2015", [("LeCun",)], ((2015, 2015),), ""),
        ("Vaswani et al., 2017", [("Vaswani",)], ((2017, 2017),), ""),
        ("Vaswani et al. (2017)", [("Vaswani",)], ((2017, 2017),), ""),
        ("Devlin & Chang 2019", [("Devlin & Chang",), ("Devlin", "Chang")], ((2019, 2019),), ""),
        ("LeCun, Bengio and Hinton 2015", [("LeCun, Bengio and Hinton",), ("LeCun", "Bengio", "Hinton")], ((2015, 2015),), ""),
    ],
)
def test_names_of_authors(query: str, names: list[tuple[str, ...]], years: tuple[tuple[int, int], ...], topic: str) -> None:
    reading = read_authors(query)
    assert reading is not None
    assert (list(reading.names), reading.years, reading.topic) == (names, years, topic)


@pytest.mark.parametrize(
    "query", ["", "graph networks", "papers on graphs", "GPT-4 2023", "2015", "a b c d e f 2015", "LeCun 1815"]
)
def test_no_names_of_authors(query: str) -> None:
    assert read_authors(query) is None


def test_conditions_in_words() -> None:
    query = '"few shot" -survey title:bert author:LeCun year:2015 year:2019.. category:cs.CL category:cs.LG code:yes'
    assert parse_query(query).conditions.describe() == [
        "phrase “few shot”",
        "without “survey”",
        "title with “bert”",
        "author LeCun",
        "year 2015",
        "years 2019–",
        "category cs.CL or cs.LG",
        "with code",
    ]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("survey of LLM agents", "survey"),
        ("a systematic review on graph learning", "survey"),
        ("LLM agents survey", "survey"),
        ("benchmark for GUI agents", "benchmark"),
        ("GUI agents benchmark", "benchmark"),
        ("datasets for speech recognition?", "benchmark"),
        ("review helpfulness prediction", None),
        ("dataset distillation", None),
        ("survey", "survey"),
        ("how to benchmark a model", None),
    ],
)
def test_kinds_of_papers_asked_for(query: str, kind: str | None) -> None:
    assert (kind in title_words_asked_for(query)) if kind else title_words_asked_for(query) == ()


# Finding -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Home:
    """The papers of the sample."""
    home = Home(tmp_path_factory.mktemp("sample") / "kb")
    run_snapshot(home, [SAMPLE])
    run_index(home, encoder)
    return home


@pytest.fixture
def searcher(sample: Home, encoder: Encoder) -> Searcher:
    return Searcher.open(sample, encoder)


def all_papers(searcher: Searcher) -> list[Paper]:
    return list(searcher.catalogue.papers(searcher.index.keys().tolist()).values())


def words(text: str) -> list[str]:
    """Words by a tokenizer of its own, for the brute-force search."""
    decomposed = unicodedata.normalize("NFKD", normalize_text(text))
    return re.findall(r"[^\W_]+", "".join(c for c in decomposed if not unicodedata.combining(c)).lower())


def has(text: str, phrase: Sequence[str]) -> bool:
    there = words(text)
    return any(there[start : start + len(phrase)] == list(phrase) for start in range(len(there)))


def brute_force(searcher: Searcher, *forms: str) -> set[str]:
    """Ids of the papers with one of these word sequences in the title or the abstract."""
    return {p.id for p in all_papers(searcher) if any(has(p.title, f.split()) or has(p.abstract, f.split()) for f in forms)}


@pytest.mark.parametrize(
    ("phrase", "forms"),
    [
        ("few-shot", ["few shot", "fewshot"]),
        ("Few Shot", ["few shot"]),
        ("language models", ["language models"]),
        ("language model", ["language model"]),
        ("state-of-the-art", ["state of the art", "stateoftheart"]),
        ("of the", ["of the"]),
        ("fine-tuning", ["fine tuning", "finetuning"]),
        ("the", ["the"]),
        ("no such words anywhere", ["no such words anywhere"]),
    ],
)
def test_exact_phrases_and_their_exclusion_are_those_of_brute_force(searcher: Searcher, phrase: str, forms: list[str]) -> None:
    expected = brute_force(searcher, *forms)
    everything = {paper.id for paper in all_papers(searcher)}
    assert {hit.paper.id for hit in searcher.search(f'"{phrase}"', 1000)} == expected
    assert {hit.paper.id for hit in searcher.search(f'learning -"{phrase}"', 1000)} == everything - expected
    if phrase == "few-shot":
        assert 0 < len(expected) < len(everything)


def test_each_word_of_the_sample_is_excluded_as_brute_force_excludes_it(searcher: Searcher) -> None:
    papers = all_papers(searcher)
    vocabulary = sorted({word for paper in papers for word in words(paper.title) if word.isalpha() and len(word) > 1})
    assert len(vocabulary) > 300
    for word in vocabulary[::7]:
        with_it = {paper.id for paper in papers if word in words(paper.title) + words(paper.abstract)}
        found = {hit.paper.id for hit in searcher.search(f"-{word}", 1000)}
        assert found == {paper.id for paper in papers} - with_it, word


def test_fields_restrict_as_filters_do(searcher: Searcher) -> None:
    papers = all_papers(searcher)
    with_code = searcher.catalogue.select(Filters(has_code=True))
    assert with_code is not None
    expected = {
        "title:attention": {p.id for p in papers if "attention" in words(p.title)},
        'title:"language models"': {p.id for p in papers if has(p.title, ["language", "models"])},
        "year:2017": {p.id for p in papers if p.year == 2017},
        "year:2015..2017 category:cs.cl": {p.id for p in papers if p.year in (2015, 2016, 2017) and "cs.CL" in p.categories},
        "category:cs.CL category:stat": {
            p.id for p in papers if "cs.CL" in p.categories or any(c.startswith("stat.") for c in p.categories)
        },
        "author:Vaswani": {p.id for p in papers if any(a.family == "Vaswani" for a in p.authors)},
        'author:"Nobody Known"': set(),
        "code:yes": {p.id for p in searcher.catalogue.papers(with_code.tolist()).values()},
        "year:2016 year:2017": set(),
    }
    for query, ids in expected.items():
        assert {hit.paper.id for hit in searcher.search(query, 1000)} == ids, query
        assert {hit.paper.id for hit in searcher.search(f"neural networks {query}", 1000)} == ids, query
        assert ids or query in {'author:"Nobody Known"', "year:2016 year:2017"}, f"{query} tests nothing"
    both = searcher.search("year:2017 neural networks", 1000, Filters(categories=("cs.CL",)))
    assert {hit.paper.id for hit in both} == {p.id for p in papers if p.year == 2017 and "cs.CL" in p.categories}


def test_a_family_name_is_a_whole_word(searcher: Searcher) -> None:
    """`Li` is no part of another name, as for the filter. Initials will do, middle names may be missing, in either order."""
    papers = all_papers(searcher)
    expected = {p.id for p in papers if any("li" in words(a.family) for a in p.authors)}
    assert {hit.paper.id for hit in searcher.search("author:Li", 1000)} == expected
    for name in (
        "Ashish Vaswani",
        "Vaswani Ashish",
        "Vaswani, Ashish",
        "A. Vaswani",
        "Vaswani, A.",
        "Aidan Gomez",
        "A. N. Gomez",
    ):
        titles = {hit.paper.title for hit in searcher.search(f'author:"{name}"', 5)}
        assert "Attention Is All You Need" in titles and len(titles) < 4, name
    for name in ("Shazeer Vaswani", "B. Vaswani", "Ashish Shazeer"):
        assert searcher.search(f'author:"{name}"') == [], name


def test_authors_named_in_words(searcher: Searcher) -> None:
    assert searcher.parse("papers by Vaswani") == ParsedQuery("", Conditions(authors=("Vaswani",)))
    assert searcher.parse("Vaswani and Shazeer 2017") == ParsedQuery(
        "", Conditions(authors=("Vaswani", "Shazeer"), years=((2017, 2017),))
    )
    assert [hit.paper.title for hit in searcher.search("Vaswani et al., 2017")] == ["Attention Is All You Need"]
    # Words that are nobody's name, names without such a paper: plain text.
    for query in ("papers by hand", "attention 2017", "Vaswani 1999", "graph networks"):
        assert searcher.parse(query) == ParsedQuery(query)
    assert searcher.search("attention 2017")[0].scores
    # Names are no misspelt words.
    assert searcher.correct_spelling("author:Polosukhin atention") == "author:Polosukhin atention"
    assert searcher.correct_spelling("atention") == "attention"


def test_operators_alone_list_the_newest_first(searcher: Searcher) -> None:
    hits = searcher.search("-survey", 1000)
    dates = [hit.paper.published for hit in hits if hit.paper.published and not hit.paper.withdrawn]
    assert dates == sorted(dates, reverse=True) and len(dates) > 100
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.paper.id for hit in searcher.search("-survey", 3)] == [hit.paper.id for hit in hits[:3]]


def test_orders_of_the_results(searcher: Searcher) -> None:
    by_relevance = searcher.search("language models", 30)
    assert searcher.search("language models", 30, sort="relevance") == by_relevance
    by_date = searcher.search("language models", 30, sort="date")
    assert {hit.paper.id for hit in by_date} == {hit.paper.id for hit in by_relevance}
    dates = [hit.paper.published for hit in by_date]
    assert None not in dates and dates == sorted(dates, reverse=True)
    assert [hit.rank for hit in by_date] == list(range(1, 31))
    stars = [
        max((link.stars or 0 for link in hit.code), default=-1) for hit in searcher.search("language models", 30, sort="stars")
    ]
    assert stars == sorted(stars, reverse=True) and stars[0] >= 0 > stars[-1]
    liked = searcher.like(["1706.03762"], k=20, sort="date")
    assert [hit.paper.published for hit in liked] == sorted((hit.paper.published for hit in liked), reverse=True)


def test_examples_take_operators_too(searcher: Searcher) -> None:
    found = searcher.like(["1706.03762"], text="-attention year:2017..", k=1000)
    expected = {
        p.id for p in all_papers(searcher) if (p.year or 0) >= 2017 and "attention" not in words(f"{p.title} {p.abstract}")
    }
    assert {hit.paper.id for hit in found} == expected and expected
    hits = searcher.search("1706.03762 year:2018..", 1000)
    assert {hit.paper.year for hit in hits} == {p.year for p in all_papers(searcher) if (p.year or 0) >= 2018}


def test_a_quoted_phrase_ranks_as_its_words_do(searcher: Searcher) -> None:
    """The same scores, of fewer papers."""
    plain = {hit.paper.id: hit.scores["dense"] for hit in searcher.search("language models", 1000)}
    quoted = searcher.search('"language models"', 1000)
    assert 0 < len(quoted) < len(plain)
    for hit in quoted:
        assert hit.scores["dense"] == pytest.approx(plain[hit.paper.id], abs=1e-6)


def test_a_title_with_quotes_and_colons_is_found_as_a_title(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder
) -> None:
    title = '"Why Should I Trust You?": Explaining the author:Smith -pattern'
    run_snapshot(home, [write_snapshot([record(1, title=title), record(2)])])
    run_index(home, encoder)
    with Searcher.open(home, encoder) as searcher:
        assert searcher.parse(title) == ParsedQuery(title)
        hits = searcher.search(title)
        assert [hit.paper.title for hit in hits][:1] == [title] and len(hits) == 2


def test_surveys_come_first_where_a_survey_is_asked_for(
    home: Home, write_snapshot: Callable[..., Path], encoder: Encoder
) -> None:
    abstract = "Agents built on language models plan, use tools and work together."
    titles = ["Agents of language models", "Language models as agents", "Agents built on language models", "Agents in a survey"]
    others = [record(n, title=f"Protein {n}", abstract=f"Structures of proteins number {n}.") for n in range(10, 20)]
    papers = [record(n, title=title, abstract=abstract) for n, title in enumerate(titles)]
    run_snapshot(home, [write_snapshot([*papers, *others])])
    run_index(home, encoder)
    with Searcher.open(home, encoder) as searcher:
        assert searcher.search("survey of agents of language models")[0].paper.title == "Agents in a survey"
        assert searcher.search("agents of language models")[0].paper.title == "Agents of language models"
        # An abstract that ends so asks for nothing.
        query = Query(f"{abstract * 9} survey")
        found, reranked = searcher.candidates(query, 10)
        np.testing.assert_array_equal(reranked, searcher._reranker.rerank(query, found))  # type: ignore[union-attr]


def test_an_index_of_an_earlier_version_says_what_to_do(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(searcher._require_retriever().lexical), "_sequence", _unknown_field)
    with pytest.raises(StoreError, match="kb index"):
        searcher.search("agents -survey")
    assert searcher.search("agents")


def _unknown_field(*_: object) -> None:
    raise ValueError("Field `title_words` is not defined in the schema.")


def test_the_command_line(kb: Callable[..., subprocess.CompletedProcess[str]], home: Home, encoder: Encoder) -> None:
    run_snapshot(home, [SAMPLE])
    run_index(home, encoder)
    done = kb("search", "-survey", "-k", "200", "--json")
    assert done.returncode == 0, done.stderr
    with Searcher.open(home, encoder) as searcher:
        assert {hit["id"] for hit in json.loads(done.stdout)} == {p.id for p in all_papers(searcher)} - brute_force(
            searcher, "survey"
        )
    assert "without “survey”" in done.stderr
    done = kb("search", "-kernel methods", "--sort", "date", "-k3", "--json")
    dates = [hit["year"] for hit in json.loads(done.stdout)]
    assert len(dates) == 3 and dates == sorted(dates, reverse=True)
    assert kb("search", "Vaswani et al., 2017").stdout.startswith("  1  Attention Is All You Need")
    # What is no word to exclude is an option as before.
    for wrong in (("--surveys",), ("-x",), ("agents", "--sort", "length")):
        assert kb("search", *wrong).returncode == 2, wrong
    # A query without operators says nothing of how it was understood.
    assert kb("search", "attention").stderr == ""
