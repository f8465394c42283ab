"""Reading notes: one small file a dialect with everything that comes out of it, the real documents, and broken ones."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from ingest.notes import Document, note_files, parse_document, read_document
from kb.errors import SourceError
from kb.identifiers import paper_id
from kb.papers import Mention, Note

GOLDEN = Path(__file__).parent / "notes"
SHARED = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))


def golden(name: str) -> Document:
    return read_document(GOLDEN / name, name)


def seed(number: str) -> Document:
    """One of the real documents, which are no part of the project."""
    files = sorted((SHARED / "seeds").glob(f"{number}_*.txt"))
    if not files:
        pytest.skip(f"the real notes are not at hand: no {number}_*.txt in {SHARED / 'seeds'}; KB_SHARED_DATA says where")
    return read_document(files[0], number)


def note_id(text: str) -> str:
    """The id of a paper without a link, over case-folded letters and digits."""
    return "url:note:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def titles(document: Document) -> list[str]:
    return [note.title for note in document.notes]


def by_title(document: Document, start: str) -> Note:
    (note,) = [note for note in document.notes if note.title.startswith(start)]
    return note


def links(note: Note) -> list[tuple[str, str, str, int]]:
    return [(mention.kind, mention.target, mention.text, mention.line) for mention in note.mentions]


# One file a dialect.


def test_headings() -> None:
    document = golden("headings.md")
    assert document.title == "Papers I have read"
    assert [(n.line, n.year, n.title, n.tags, n.authors, n.venue, n.paper_id, n.section) for n in document.notes] == [
        (
            17,
            2021,
            "Gating without Attention",
            ("GateNet",),
            (),
            "Google and Univ. Example, NeurIPS 2021",
            "arxiv:2105.00123",
            "",
        ),
        (35, 2015, "Small, Fast and Cheap: Teachers and Pupils", (), ("D. Early", "K. Late"), "", "arxiv:1503.00031", ""),
        (36, 2021, "Pupils without $O(n^2)$ Teachers", (), (), "", "url:https://journal.example.org/articles/7", ""),
        (37, 2020, "A Survey of Schools", (), (), "", "arxiv:2006.00525", ""),
        (42, 2017, "Discrete Codes", ("VQ",), (), "Example Institute", "url:https://arxiv.org/abs/1711.0093", ""),
        (46, 2023, "Offloading, Again", (), (), "", "url:https://github.com/example/offload/tree/news/blogs", ""),
    ]
    gates, first, second, third, codes, offloading = document.notes
    assert gates.body.startswith("Gates mix the tokens in $$O(n)$$ time, see [the blog](https://blog.example.org/gates) and\n")
    assert gates.body.endswith("```\n## 2000 [Not a paper](https://arxiv.org/abs/2001.00002)\n```")
    assert '<img width="60%" src="/assets/gates.png"/>' in gates.body
    assert "{:" not in gates.body
    assert links(gates) == [
        ("web", "https://blog.example.org/gates", "the blog", 19),
        ("repository", "https://github.com/example/gatenet", "the code", 20),
        ("paper", "arxiv:1412.0012", "older idea", 20),
    ]
    assert first.body == second.body == third.body == "One text on three papers."
    assert codes.url == "https://arxiv.org/abs/1711.0093"
    assert links(offloading) == [("repository", "https://github.com/example/offload", "Offloading, Again", 46)]
    assert offloading.body == ""
    assert document.mentions == ()
    (skipped,) = document.skipped
    assert (skipped.source, skipped.line) == ("headings.md", 42)
    assert "cannot exist" in skipped.reason


def test_newsletter() -> None:
    document = golden("newsletter.txt")
    assert document.title == "Best of Papers — Readings for a Month"
    assert [(n.line, n.title, n.authors, n.paper_id) for n in document.notes] == [
        (3, "Learning in the Open", ("Ada Byron", "Carl Weiss", "Eva van den Berg"), note_id("learningintheopen")),
        (8, "Is Attention Needed?", ("Noor Silva",), note_id("isattentionneeded")),
    ]
    first, second = document.notes
    assert first.body == (
        "❓Why → Volunteers have idle machines.\n💡Key insights → Gradients are gathered slowly.\n"
        "The implementation is described below."
    )
    assert second.body == "❓Why →Joining last month’s surge.\n💡 Key insights → A learned bias is enough."
    assert (document.mentions, document.skipped) == ((), ())


def test_newsletter_that_lost_its_titles() -> None:
    document = golden("newsletter_without_titles.txt")
    assert document.title == "Best in Papers — July"
    text = "whyvolunteershaveidlemachineskeyinsightsgradientsaregatheredslowlytheimplementationisdescribedbelow"
    assert [(n.line, n.title, n.authors, n.paper_id) for n in document.notes] == [
        (9, "", ("Ada Byron", "Carl Weiss", "Eva van den Berg"), note_id("byronweissvan den berg" + text)),
        (17, "", ("Noor Silva",), note_id("silvawhyjoininglastmonthssurgekeyinsightsalearnedbiasisenough")),
    ]
    assert document.notes[0].body.endswith("\n\nThe implementation is described below.")
    assert document.notes[1].body.endswith("A learned bias is enough.")
    github = "https://github.com/"
    assert document.mentions == (
        Mention("repository", f"{github}example/hivemind", "example/hivemind", 27, 715, "Wanna train huge models?"),
        Mention("repository", f"{github}Example-Org/DeepRun", "Example-Org/DeepRun", 35, 5200, "A framework to train at scale."),
        Mention("repository", f"{github}example/voice", "example/voice", 37, 1234, "An open-source speech toolkit."),
    )


def test_digest() -> None:
    document = golden("digest.txt")
    assert document.title == "Some Notable Papers"
    assert [(n.line, n.title, n.section, n.paper_id) for n in document.notes] == [
        (
            19,
            "Sharding: Scaling with Conditional Computation",
            "",
            note_id("shardingscalingwithconditionalcomputation"),
        ),
        (40, "Retrieval by Paraphrase", "NLP", note_id("retrievalbyparaphrase")),
        (60, "Pictures are Words", "NLP", note_id("picturesarewords")),
    ]
    sharding, retrieval, pictures = document.notes
    assert sharding.body == (
        "tl;dr:\n\n- It scales beyond 600 billion parameters.\n- It costs less.\n\nDetails:\n\nA figure shows the layer.\n\n"
        "- The gate selects two experts.\n  - Many more dimensions are possible."
    )
    assert retrieval.body == (
        "tl;dr: A retriever and a reader are trained together:\n\n- Strong without fine-tuning.\n\nComments:\n\n"
        "- See the memory paper."
    )
    assert links(retrieval) == [("paper", "arxiv:2006.15020", "https://arxiv.org/abs/2006.15020", 54)]
    assert pictures.body == "tl;dr: Patches suffice."
    assert (document.mentions, document.skipped) == ((), ())


def test_table() -> None:
    document = golden("table.md")
    assert document.title == "Papers of the Week"
    assert [(n.line, n.title, n.body, n.paper_id, n.section) for n in document.notes] == [
        (
            11,
            "Tiny Diffusion",
            "This paper shrinks models.\n- Fast – 10x faster.\n- Small.",
            "arxiv:2506.17298",
            "Week 2",
        ),
        (
            12,
            "Pipes | and $p(a|b)$ Masses",
            "sets a | between `a|b`. See [the site](https://pipes.example.org).",
            "doi:10.1038/s41586-024-08148-8",
            "Week 2",
        ),
        (13, "Self-Made Models", "introduces a loop.  It has two blanks.", "arxiv:2303.04129", "Week 2"),
        (
            14,
            "An Operating System for Memory",
            "Introduces a unified system for memory, which  nobody had",
            "arxiv:2505.22101",
            "Week 2",
        ),
        (15, "A Recap (2022 Edition)", "a look back.", note_id("arecap2022edition"), "Week 2"),
        (27, "Twins", "short", "openreview:abc_DEF-12", "Other tables"),
        (28, "Costs from $5", "", "url:https://www.example.org/costs.pdf", "Other tables"),
    ]
    assert links(document.notes[1]) == [
        ("web", "https://pipes.example.org", "the site", 12),
        ("repository", "https://github.com/example/pipes", "Code", 12),
    ]
    assert links(document.notes[2]) == [("web", "https://x.com/someone/status/2", "Tweet", 13)]
    assert [(n.authors, n.year, n.venue) for n in document.notes[5:]] == [
        (("Ada Byron", "Carl Weiss"), 2019, "ICLR"),
        (("Eva Sun",), 2020, "to $6"),
    ]
    assert [(m.kind, m.target, m.line) for m in document.mentions] == [
        ("web", "https://news.example.org/", 3),
        ("web", "https://x.com/someone/status/4", 16),
    ]
    assert [(s.line, s.reason) for s in document.skipped] == [(16, "the table row has neither a title nor a link to a paper")]


def test_lists() -> None:
    document = golden("lists.md")
    assert document.title == "Reading list"
    assert [(n.line, n.paper_id, n.title, n.body, n.tags) for n in document.notes] == [
        (5, "arxiv:1706.03762", "Attention Is All You Need", "the transformer", ()),
        (
            6,
            "arxiv:2004.05150",
            "Longformer",
            "long documents, [code](https://github.com/allenai/longformer.git)",
            (),
        ),
        (7, "arxiv:2001.04451", "Reformer: The Efficient Transformer", "", ()),
        (8, "arxiv:1706.03762", "", "read again", ()),
        (
            9,
            "arxiv:1810.04805",
            "BERT",
            "- nested *bullet*\n- with [code](https://github.com/google-research/bert)",
            ("unread",),
        ),
        (12, "arxiv:2005.14165", "GPT-3", "", ("read",)),
        (14, "openreview:YicbFdNTTy", "ViT", "", ()),
        (17, "url:https://jmlr.org/papers/v15/srivastava14a.html", "Dropout", "old but good", ()),
        (18, "arxiv:cond-mat/9901001", "Hopfield Networks", "", ()),
        (19, "url:https://arxiv.org/abs/1711.0093", "impossible", "", ()),
        (22, "arxiv:2010.11929", "", "", ()),
        (23, "url:https://aclanthology.org/N19-1423", "", "and a remark", ()),
        (25, "doi:10.1162/neco.1991.3.1.79", "A Title Above Its Link", "", ()),
    ]
    assert {n.section for n in document.notes} == {"Attention", "Vision"}
    assert by_title(document, "Attention").url == "https://arxiv.org/abs/1706.03762v5"
    assert by_title(document, "Attention").year is None
    assert (by_title(document, "GPT-3").venue, by_title(document, "GPT-3").year) == ("NeurIPS 2020", 2020)
    assert (by_title(document, "ViT").venue, by_title(document, "ViT").year) == ("ICLR 2021", 2021)
    assert by_title(document, "ViT").section == "Vision"
    assert links(by_title(document, "Longformer")) == [("repository", "https://github.com/allenai/longformer", "code", 6)]
    assert links(by_title(document, "BERT")) == [("repository", "https://github.com/google-research/bert", "code", 11)]
    assert links(by_title(document, "GPT-3")) == [("repository", "https://github.com/openai/gpt-3", "code", 12)]
    assert document.mentions == (
        Mention("repository", "https://github.com/microsoft/DeepSpeed", "DeepSpeed", 15, 5200, "training at scale"),
        Mention("project", "https://someone.github.io/awesome/", "Awesome pages", 16),
        Mention("paper", "arxiv:2010.11931", "this one", 28),
    )
    assert [(s.line, "cannot exist" in s.reason, "javascript:" in s.reason) for s in document.skipped] == [
        (19, True, False),
        (20, False, True),
    ]


def test_one_file_may_mix_dialects() -> None:
    document = golden("mixed.md")
    assert document.title == "Bookmarks"
    assert [(n.line, n.title, n.venue, n.year, n.authors, n.section, n.paper_id) for n in document.notes] == [
        (4, "Linked Title", "", None, ("Ada Byron", "Carl Weiss"), "", "doi:10.1162/neco.1991.3.1.79"),
        (12, "Plain Title", "ICML 2019", 2019, (), "", "arxiv:2010.11935"),
        (15, "Underlined Title", "", None, (), "", "arxiv:2010.11936"),
        (22, "Listed", "", None, (), "To read", "arxiv:2010.11937"),
        (24, "From a letter", "", None, ("Eva Sun",), "", note_id("fromaletter")),
        (33, "Tabled", "", None, (), "In tables", "arxiv:2010.11938"),
    ]
    assert document.notes[0].body == (
        "By Ada Byron and Carl Weiss.\n\nIts text.\n\n#### Links\n- [X](https://arxiv.org/abs/2010.11934)"
    )
    assert links(document.notes[0]) == [("paper", "arxiv:2010.11934", "X", 10)]
    assert links(document.notes[1]) == [("repository", "https://github.com/example/plain", "code", 13)]
    assert document.notes[2].body == "Its text."
    assert document.skipped == ()


def test_front_matter_that_names_the_one_paper() -> None:
    document = golden("one_paper.md")
    assert document.title == "Deep Examples for Recognition"
    assert document.notes == (
        Note(
            source="one_paper.md",
            line=1,
            paper_id="arxiv:1512.03380",
            title="Deep Examples for Recognition",
            body="Shortcuts help, see the [code](https://github.com/example/deep).\n\n"
            "- [Highway](https://arxiv.org/abs/1505.00387)",
            authors=("Ada Byron", "Carl Weiss"),
            venue="CVPR",
            year=2015,
            url="https://arxiv.org/abs/1512.03380",
            tags=("vision", "to-read"),
            mentions=(
                Mention(
                    "repository",
                    "https://github.com/example/deep",
                    "code",
                    13,
                    confidence=0.8,
                    evidence="the note labels it as code",
                ),
                Mention("paper", "arxiv:1505.00387", "Highway", 15),
            ),
            title_source="metadata",
        ),
    )


@pytest.mark.parametrize(
    ("field", "identifier"),
    [
        ("arxiv: arXiv:1706.03762v2", "arxiv:1706.03762"),
        ("arxiv: 2005.14160", "arxiv:2005.14160"),  # YAML would read a number and drop the zero
        ("arxiv: https://arxiv.org/pdf/1706.03762", "arxiv:1706.03762"),
        ("doi: 10.1162/NECO.1991.3.1.79", "doi:10.1162/neco.1991.3.1.79"),
        ("url: https://openreview.net/forum?id=YicbFdNTTy", "openreview:YicbFdNTTy"),
        ("url: https://example.org/paper\nauthors: Ada Byron and Carl Weiss", "url:https://example.org/paper"),
    ],
)
def test_front_matter_fields(field: str, identifier: str) -> None:
    document = parse_document(f"---\n{field}\n---\n# A Title\n\ntext\n", "x")
    assert [(n.paper_id, n.title, n.body) for n in document.notes] == [(identifier, "A Title", "text")]


@pytest.mark.parametrize(
    ("heading", "title", "venue", "year", "authors", "tags"),
    [
        ("A, B and C: Comma Papers, Google and Univ. X, NeurIPS 2021", "A, B and C: Comma Papers",
         "Google and Univ. X, NeurIPS 2021", 2021, (), ()),
        ("Models Smaller, Faster, and Better", "Models Smaller, Faster, and Better", "", None, (), ()),
        ("Scaling to 1,000,000 Tokens, Microsoft", "Scaling to 1,000,000 Tokens", "Microsoft", None, (), ()),
        ("Deep Nets, Tsinghua University, Intel Corporation, and Xi’an Jiaotong", "Deep Nets",
         "Tsinghua University, Intel Corporation, and Xi’an Jiaotong", None, (), ()),
        ("Wide Optima (SWA), Cornel & Samsumg AI", "Wide Optima", "Cornel & Samsumg AI", None, (), ("SWA",)),
        ("Speech (TorTalk), James Example", "Speech", "", None, ("James Example",), ("TorTalk",)),
        ("Align and Translate (and Attention), D. Bahn, K. Chu", "Align and Translate", "", None,
         ("D. Bahn", "K. Chu"), ("Attention",)),
        ("Studies, 2011 ", "Studies", "", 2011, (), ()),
        ("**Bold** *words* with `code` 👾", "Bold words with code", "", None, (), ()),
        ("Language, Knowledge Graphs", "Language, Knowledge Graphs", "", None, (), ()),
        ("Learning to Learn, Meta Learning", "Learning to Learn, Meta Learning", "", None, (), ()),
    ],
)  # fmt: skip
def test_what_stands_behind_a_title(
    heading: str, title: str, venue: str, year: int | None, authors: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    (note,) = parse_document(f"## [{heading}](https://arxiv.org/abs/1706.03762)\n", "x").notes
    assert (note.title, note.venue, note.year, note.authors, note.tags) == (title, venue, year, authors, tags)


def test_links_of_every_kind() -> None:
    text = (
        "## [A](https://arxiv.org/abs/2001.00001)\n\n"
        'Bare https://github.com/a/b. In HTML <a href="https://c.org/d">words</a>, <https://e.org/f>, (see arXiv:1706.03762v2),\n'
        '[ref][r], doi:10.1162/neco.1991.3.1.79; github.com/g/h and <img src="https://i.org/j.png"> ![k](https://l.org/m.png)\n'
        "https://n.org/o_(p) [q](https://s.org/t.pdf)\n\n"
        "[r]: https://u.github.io/v\n"
    )
    (note,) = parse_document(text, "x").notes
    assert links(note) == [
        ("repository", "https://github.com/a/b", "https://github.com/a/b", 3),
        ("web", "https://c.org/d", "words", 3),
        ("web", "https://e.org/f", "https://e.org/f", 3),
        ("paper", "arxiv:1706.03762", "arXiv:1706.03762v2", 3),
        ("project", "https://u.github.io/v", "ref", 4),
        ("paper", "doi:10.1162/neco.1991.3.1.79", "doi:10.1162/neco.1991.3.1.79", 4),
        ("repository", "https://github.com/g/h", "github.com/g/h", 4),
        ("web", "https://n.org/o_(p)", "https://n.org/o_(p)", 5),
        ("paper", "url:https://s.org/t.pdf", "q", 5),
    ]


def test_the_same_paper_twice_gives_two_notes() -> None:
    text = "- https://arxiv.org/abs/1706.03762v1\n- https://arxiv.org/pdf/1706.03762\n"
    assert [n.paper_id for n in parse_document(text, "x").notes] == ["arxiv:1706.03762"] * 2


def test_a_chapter_that_links_its_home_page_is_no_paper() -> None:
    text = "## [Tools](https://tools.example.org)\n\n### [A](https://arxiv.org/abs/2001.00001)\n\ntext\n"
    document = parse_document(text, "x")
    assert [(n.title, n.section) for n in document.notes] == [("A", "Tools")]
    assert [m.target for m in document.mentions] == ["https://tools.example.org"]


def test_line_ends_and_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    data = (GOLDEN / "headings.md").read_bytes()
    (tmp_path / "windows.md").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert read_document(tmp_path / "windows.md", "headings.md") == golden("headings.md")


# The real documents.


def test_the_real_page_of_85_notes() -> None:
    document = seed("004")
    assert document.title == "Publications bookmark"
    assert len(document.notes) == len({n.paper_id for n in document.notes}) == 85
    assert [(s.line, "cannot exist" in s.reason) for s in document.skipped] == [(1006, True)]
    assert document.mentions == ()
    assert Counter(n.paper_id.split(":")[0] for n in document.notes) == {"arxiv": 72, "url": 10, "openreview": 2, "doi": 1}
    assert all(n.year for n in document.notes)
    assert [n.title for n in document.notes if not n.body] == ["Language Models are Unsupervised Multitask Learners"]
    expected = {
        100: ("DeepSpeed ZeRO-Offload++: 6x Higher Training Throughput via Collaborative CPU/GPU Twin-Flow", "", 2023),
        144: ("Better speech synthesis through scaling", "", 2023),
        248: (
            "GPTs are GPTs: An Early Look at the Labor Market Impact Potential of Large Language Models",
            "OpenAI, OpenResearch, Univ. of Pennsylvania",
            2023,
        ),
        374: ("Self-attention Does Not Need $O(n^2)$ Memory", "Google", 2022),
        505: ("Contrastive Deep Supervision", "Tsinghua University, Intel Corporation, and Xi’an Jiaotong", 2022),
        541: ("Emergent Abilities of Large Language Models", "Google Research & Stanford", 2022),
        706: (
            "Reduced, Reused and Recycled: The Life of a Dataset in Machine Learning Research",
            "Google and Univ. California, NeurIPS 2021",
            2021,
        ),
        751: ("Finetuned Language Models Are Zero-Shot Learners", "Google, ICLR 2022", 2021),
        954: ("Averaging Weights Leads to Wider Optima and Better Generalization", "Cornel & Samsumg AI", 2018),
        1001: ("Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", "", 2017),
        1006: ("Neural Discrete Representation Learning", "Google", 2017),
        1148: ("Neural Machine Translation by Jointly Learning to Align and Translate", "", 2015),
        1200: (
            "Dropout: a simple way to prevent neural networks from overfitting",
            "Univ. Toronto, Journal of ML Research 2014",
            2014,
        ),
        1228: ("Popular Ensemble Methods: An Empirical Study", "", 2011),
        1240: ("Cyclical Learning Rates for Training Neural Networks", "US Naval Research Lab", 2011),
        1245: (
            "Connectionist Temporal Classification: Labelling Unsegmented: Sequence Data with Recurrent Neural Networks",
            "IDSIA Switzerland, ICML 2006",
            2006,
        ),
        1265: ("Adaptive Mixture of Local Experts", "", 1991),
    }
    assert {n.line: (n.title, n.venue, n.year) for n in document.notes if n.line in expected} == expected
    notes = {n.line: n for n in document.notes}
    assert notes[1148].authors == ("D. Bahdanau", "K. Cho", "Y. Bengio")
    assert notes[165].tags == ("VALL-E",)
    assert notes[344].tags == (r"$\mu$Transfer",)
    assert notes[1006].paper_id == "url:https://arxiv.org/abs/1711.0093"
    assert notes[738].paper_id == "url:https://paperswithcode.com/paper/an-image-is-worth-16x16-words-transformers-1"
    assert notes[691].paper_id == "doi:10.1038/s41586-021-03854-z"
    assert links(notes[100]) == [("repository", "https://github.com/microsoft/DeepSpeed", notes[100].title, 100)]
    assert notes[1112].body == notes[1113].body == notes[1114].body
    assert notes[1112].body.startswith("The **distillation** method is based on first training a *cumbersome* model")
    assert notes[1001].body == "covered in a [different post]({{ site.baseurl }}{% post_url 2024-01-19-Mixture-of-Experts %})"
    assert ("repository", "https://github.com/microsoft/torchscale") in [m[:2] for m in links(notes[448])]
    assert ("project", "https://tkipf.github.io/graph-convolutional-networks/") in [m[:2] for m in links(notes[1058])]
    kinds = Counter(m.kind for n in document.notes for m in n.mentions)
    assert kinds == {"paper": 16, "web": 15, "repository": 4, "project": 1}
    assert not any("{:" in n.body or n.body.endswith("<br/>") for n in document.notes)


def test_the_real_newsletter_with_titles() -> None:
    document = seed("002")
    assert document.title == "Best of arXiv — Readings for July 2021"
    assert [(n.line, n.title) for n in document.notes] == [
        (5, "Distributed Deep Learning in Open Collaborations"),
        (11, "Scaling Vision with Sparse Mixture of Experts"),
        (18, "An Attention Free Transformer"),
        (24, "Revisiting Deep Learning Models for Tabular Data"),
        (30, "Thinking Like Transformers"),
        (36, "Efficient Deep Learning: A Survey on Making Deep Learning Models Smaller, Faster, and Better"),
    ]
    assert document.notes[3].authors == ("Yury Gorishniy", "Ivan Rubachev", "Valentin Khrulkov", "Artem Babenko")
    assert all(n.body.startswith("❓Why → ") for n in document.notes)
    assert document.notes[1].body.endswith("its popular implementation on GitHub.")
    assert document.notes[5].body.endswith("in Low-Resource Scenarios")
    assert (document.mentions, document.skipped) == ((), ())


def test_the_real_newsletters_without_titles() -> None:
    july, november = seed("000"), seed("001")
    assert [n.line for n in july.notes] == [21, 32, 45, 55, 63, 73]
    assert [n.line for n in november.notes] == [37, 49, 81, 91, 105, 113, 121]
    assert {n.title for n in july.notes + november.notes} == {""}
    assert len({n.paper_id for n in july.notes + november.notes}) == 13
    assert july.notes[1].authors == ("Carlos Riquelme", "Joan Puigcerver", "Basil Mustafa")
    assert november.notes[1].authors == ("Victor Sanh", "Albert Webson", "Colin Raffel", "Stephen H. Bach")
    assert november.notes[1].body.endswith("vs. a single task at a time.")
    assert july.notes[5].body.endswith("in Low-Resource Scenarios")
    assert [(m.text, m.stars) for m in july.mentions] == [
        ("learning-at-home/hivemind", 715),
        ("microsoft/DeepSpeed", 5200),
        ("horovod/horovod", 11400),
        ("facebookresearch/fairscale", 1200),
        ("pytorch/xla", 1400),
        ("speechbrain/speechbrain", 2500),
        ("facebookresearch/xcit", 415),
        ("kzl/decision-transformer", 661),
        ("NVlabs/SegFormer", 403),
        ("OATML/non-parametric-transformers", 217),
    ]
    assert july.mentions[5].remark == "An open-source and all-in-one speech toolkit based on PyTorch."
    assert july.mentions[7].remark == "Reinforcement Learning via Sequence Modeling."
    assert november.mentions == ()


def test_the_real_digest() -> None:
    document = seed("003")
    assert titles(document) == [
        "GShard: Scaling Giant Models with Conditional Computation and Automatic Sharding",
        "Training Large Neural Networks with Constant Memory using a New Execution Algorithm",
        "DeepSpeed",
        "Pre-training via Paraphrasing",
        "Answering Complex Open-Domain Questions with Multi-Hop Dense Retrieval",
        "Cross-lingual Retrieval for Iterative Self-Supervised Training",
        "Long Range Arena: A Benchmark for Efficient Transformers",
        "Rethinking Attention with Performers",
        "Scaling Laws for Neural Language Models",
        "Learning to Summarize From Human Feedback",
        "Measuring Massive Multitask Language Understanding",
        "Conditionally Adaptive Multi-Task Learning: Improving Transfer Learning in NLP Using Fewer Parameters & Less Data",
        "Current Limitations of Language Models: What You Need is Retrieval",
        "An Image is Worth 16×16 Words: Transformers for Image Recognition at Scale",
        "Generative Pretraining from Pixels",
        "VideoGen: Generative Modeling of Videos using VQ-VAE and Transformers",
        "Mastering Atari with Discrete World Models",
        "Unsupervised Active Pre-Training for Reinforcement Learning",
        "Using a thousand optimization tasks to learn hyperparameter search strategies",
        "Second Order Optimization Made Practical",
    ]
    assert document.notes[3].paper_id == note_id("pretrainingviaparaphrasing")
    assert document.notes[3].body.startswith("tl;dr: By training a language model and a retriever jointly")
    assert document.notes[12].body.endswith("providing some details for my view of the future trends of LM.")
    assert document.notes[15].body.endswith("(Axial Attention) to 3.62.")
    assert document.skipped == ()


def test_the_real_reading_list_in_tables() -> None:
    path = SHARED / "data" / "notes" / "ml_papers_of_the_week.md"
    if not path.is_file():
        pytest.skip(f"the real reading list is not at hand: no {path}; KB_SHARED_DATA says where")
    document = read_document(path, "weekly")
    assert document.title == "ML Papers of The Week"
    assert len(document.notes) == 1300
    assert all(n.title and n.url and n.section.startswith("Top ML Papers of the Week") for n in document.notes)
    assert len({n.paper_id for n in document.notes if n.paper_id.startswith("arxiv:")}) == 1098
    assert document.skipped == ()
    notes = {n.line: n for n in document.notes}
    assert (notes[157].title, notes[157].paper_id) == ("Ultra-Fast Diffusion-based Language Models", "arxiv:2506.17298")
    assert notes[157].section == "Top ML Papers of the Week (June 23 - June 29) - 2025"
    assert notes[215].title == "An Operating System for Memory-Augmented Generation in LLMs"
    assert notes[317].url == "https://arena.xlang.ai/blog/computer-agent-arena"
    assert notes[479].title == "Self-Adaptive LLMs"
    assert notes[1984].paper_id == "arxiv:2303.04129"
    assert links(notes[2116])[1] == ("repository", "https://github.com/deepmind/tracr", "Code", 2116)
    assert max(len(n.title) for n in document.notes) < 160


# Broken input.


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("---\ntitle: [broken\n---\ntext\n", 2, "the front matter is no YAML"),
        ("---\n- a list\n---\ntext\n", 1, "holds no `key: value` pairs"),
        ("---\ntitle: x\n\ntext\n", 1, "the front matter is never closed"),
        ("---\na: &a [*a]\n---\n", 2, "the front matter is no YAML"),
        ("---\n" + "[" * 15000 + "\n---\n", 1, "the front matter is no YAML"),
        ("---\narxiv: 1711.0093\n---\n", 1, "cannot exist"),
        ("text\n\n## [Title]()\n", 3, "the link of the heading 'Title' is empty"),
        ("## [Title](javascript:alert(1))\n", 1, "no http or https address"),
        ("## [Title](https://user:password@example.org/)\n", 1, "names no public host"),
        ("- a https://arxiv.org/abs/2013.12345\n", 1, "cannot exist"),
        ("| Paper |\n|---|\n| | |\n", 3, "neither a title nor a link"),
        ("a\n\ntl;dr: no title\n\ntl;dr: none here\n", 5, "without a title"),
        ("```\n- https://arxiv.org/abs/1706.03762\n", 1, "never closed"),
        ("x\n<!-- a comment\n", 2, "never closed"),
        ("a" * 60_000 + "\n", 1, "a line of 60,000 characters is too long"),
    ],
)
def test_what_cannot_be_read_is_reported_with_its_line(text: str, line: int, reason: str) -> None:
    document = parse_document(text, "x")
    assert any(s.line == line and reason in s.reason and s.source == "x" for s in document.skipped), document.skipped


@pytest.mark.parametrize(
    ("text", "reason"), [("", "the document is empty"), ("just text\n", "no paper was found in the document")]
)
def test_a_document_without_a_paper_is_no_failure(text: str, reason: str) -> None:
    document = parse_document(text, "x")
    assert (document.notes, document.skipped, document.no_paper) == ((), (), reason)


def test_a_heading_with_an_odd_link_keeps_its_note() -> None:
    for link in ("", "javascript:alert(1)"):
        (note,) = parse_document(f"## 2020 [A Title]({link})\n\ntext\n", "x").notes
        assert (note.paper_id, note.url, note.year, note.body) == (note_id("atitle"), "", 2020, "text")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.md").write_bytes(b"a\nb\0c")
    (tmp_path / "data.md").write_bytes(bytes(range(128, 256)) + b"\0" * 9)
    with pytest.raises(SourceError, match=r"binary\.md: byte 3 \(line 2\) is zero"):
        read_document(tmp_path / "binary.md")
    with pytest.raises(SourceError, match=r"data\.md: byte 0 \(line 1\) is no UTF-8, and no text"):
        read_document(tmp_path / "data.md")
    with pytest.raises(SourceError, match="is a folder"):
        read_document(tmp_path)
    with pytest.raises(SourceError, match=r"missing\.md: cannot be read: No such file"):
        read_document(tmp_path / "missing.md")


def test_a_file_of_notes_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)  # takes no room
    with pytest.raises(SourceError, match="is larger than 64 MiB"):
        read_document(path)


def test_the_source_is_the_path_unless_given(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("- https://arxiv.org/abs/1706.03762\n", encoding="utf-8")
    assert read_document(file).notes[0].source == str(file)
    assert read_document(file, "mine").notes[0].source == "mine"


def test_note_files(tmp_path: Path) -> None:
    for name in ("b.md", "a/c.TXT", "a/d.markdown", ".hidden/e.md", "a/.f.md", "g.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert note_files(tmp_path) == [tmp_path / "a/c.TXT", tmp_path / "a/d.markdown", tmp_path / "b.md"]
    assert note_files(tmp_path / "g.pdf") == [tmp_path / "g.pdf"]
    with pytest.raises(SourceError, match="there is no such"):
        note_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no notes below"):
        note_files(tmp_path / "empty")


def test_half_a_character_in_an_address_is_reported() -> None:
    document = parse_document("- https://arxiv.org/abs/1706.03762?q=\ud800 https://example.org/?q=\ud800\n", "x")
    assert [(s.line, "no web address may have" in s.reason) for s in document.skipped[:1]] == [(1, True)]


def test_no_mutation_of_a_document_breaks_the_reader() -> None:
    """300 documents cut, doubled, shuffled and spiced at random, always the same ones."""
    rng = random.Random(20260101)
    sources = [file.read_text(encoding="utf-8") for file in sorted(GOLDEN.iterdir())]
    marks = "| ` ``` $ $$ [ ]( ) <!-- --> # > - ** \\ tl;dr: By https:// https://arxiv.org/abs/ //[ {{ {: ⭐️".split()
    spices = [*marks, "---\n", "\n\n", "\ufeff", "\0", "\ud800", "\u202e", "\x0b", "\r"]
    for _ in range(300):
        text = "".join(rng.sample(sources, rng.randint(1, 2)))
        for _ in range(rng.randint(1, 30)):
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.choice((0, 0, 1, 5, 40)))
            text = text[:start] + rng.choice([*spices, "", text[start:end] * 2]) * rng.choice((1, 1, 3)) + text[end:]
        document = parse_document(text, "mutant")
        lines = text.count("\n") + text.count("\r") + 1
        for note in document.notes:
            assert 1 <= note.line <= lines
            assert note.paper_id.startswith(("arxiv:", "doi:", "openreview:", "url:"))
            assert "\n" not in note.title
            if note.paper_id.startswith("arxiv:"):
                assert paper_id(note.paper_id) == note.paper_id
        assert all(1 <= mention.line <= lines for mention in document.mentions)
        assert all(1 <= skipped.line <= lines for skipped in document.skipped)
        assert document.notes or document.skipped or document.no_paper


@pytest.mark.parametrize(
    "text",
    [
        "a " * 2_500_000,
        "[" * 5_000_000,
        "<!--" * 1_000_000,
        "> " * 50_000 + "deep",
        "".join(" " * (2 * i) + "- a https://arxiv.org/abs/1706.03762\n" for i in range(500)),
        "# a\n" * 10_000,
        "| a | b |\n" * 50_000,
        "By A B\nWhy → x\n" * 5_000,
        "title\ntl;dr: x\n" * 5_000,
        "![[](" * 3_000,
        "`" * 300 + "$a " * 12_000,
        "| a |\n" + " " * 49_000 + "x-|\n",
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.timeout(120)  # what takes quadratic time takes hours
def test_no_text_takes_long(text: str) -> None:
    parse_document(text, "x")
