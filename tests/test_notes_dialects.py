"""Ten dialects of notes in several languages, a golden file each: papers, titles, authors, venues, tags, code and text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.notes import Document, parse_document, read_document
from kb.identifiers import paper_id

GOLDEN = Path(__file__).parent / "notes"

# File → line, paper, title, authors, venue, year, tags.
EXPECTED = {
    "awesome_list.en.md": [
        (10, "arxiv:2201.00101", "A Survey of Windows in Vision", (), "TPAMI", 2022, ("WinSurvey",)),
        (11, "arxiv:2301.00102", "Windows: A Second Survey", (), "arXiv", 2023, ()),
        (15, "arxiv:2101.00103", "Windows for Images", ("Ada Byron",), "CVPR 21", 2021, ("WinNet",)),
        (16, "arxiv:2102.00104", "Sliding Windows Revisited", (), "ICML 2021", 2021, ()),
        (17, "arxiv:2103.00105", "Shifted Panes for Segmentation", ("Carl Weber", "Eva Sun"), "NeurIPS 2021", 2021, ()),
        (18, "openreview:panes12345", "Panes at Scale", ("Noor Silva", "Max Ray"), "ICLR 2022", 2022, ()),
    ],
    "papers_with_code.zh.md": [
        (5, "arxiv:2101.00111", "窗口变换器：用于图像的稀疏注意力", (), "", None, ()),
        (
            12,
            "url:https://openaccess.thecvf.com/content/CVPR2021/html/Li_Dense_Panes_CVPR_2021_paper.html",
            "Dense Panes for Detection",
            (),
            "",
            None,
            (),
        ),
        (19, "arxiv:2101.00113", "Anchors Without Panes", (), "", None, ()),
    ],
    "one_paper.key_values.de.md": [
        (
            1,
            "arxiv:2002.00121",
            "Dünn besetzte Fenster für lange Texte",
            ("Ada Byron", "Carl Weber"),
            "",
            2020,
            ("Aufmerksamkeit", "lange Texte"),
        )
    ],
    "review.ko.md": [
        (1, "arxiv:2004.00131", "Sparse Windows for Long Documents", ("Ada Byron", "Carl Weber"), "ACL 2020", 2020, ())
    ],
    "ochiai.ja.md": [(1, "arxiv:2004.00141", "長い文書のための疎な注意機構", ("Ada Byron", "Carl Weber"), "", None, ())],
    "roadmap.ru.md": [
        (5, "arxiv:1901.00151", "Windows for Speech", ("Ada Byron",), "Interspeech 2019", 2019, ()),
        (7, "arxiv:2001.00152", "Panes for Speech", ("Carl Weber", "Eva Sun"), "", 2020, ()),
        (11, "arxiv:2101.00153", "Разреженное внимание", (), "ACL 2021", 2021, ()),
        (12, "arxiv:2102.00154", "Внимание без окон", (), "", None, ()),
        (13, "arxiv:2102.00155", "", (), "", None, ("unread",)),
    ],
    "post.fr.md": [
        (1, "arxiv:2004.00161", "Des fenêtres éparses pour les longs textes", (), "", None, ("attention", "2020")),
    ],
    "vault.es.md": [
        (
            1,
            "arxiv:2004.00171",
            "Ventanas dispersas para textos largos",
            ("Ada Byron", "Carl Weber"),
            "",
            2020,
            ("atención", "Textos largos"),
        )
    ],
    "tables.en.md": [
        (5, "arxiv:2004.00181", "Windows in Tables", ("Ada Byron", "Carl Weber"), "ACL", 2020, ()),
        (6, "arxiv:2104.00182", "Columns, Too", ("Eva Sun",), "EMNLP", 2021, ()),
        (12, "arxiv:2101.00183", "Windows for Tagging", (), "", None, ()),
    ],
    "logseq.en.md": [
        (1, "arxiv:2004.00191", "Sparse Windows in Outlines", ("Ada Byron", "Carl Weber"), "", 2020, ("Attention", "NLP"))
    ],
}
# File → repositories that are likely the paper's own, and those that are not.
CODE = {
    "awesome_list.en.md": (
        {"cmu/winsurvey", "byron/winnet", "weber/sliding"},
        {"lucidrains/windows"},
    ),
    "papers_with_code.zh.md": ({"zhang/windowformer"}, set()),
    "review.ko.md": ({"byron/sparse-windows"}, set()),
    "post.fr.md": ({"byron/fenetres"}, set()),
    "vault.es.md": (set(), {"alguien/tsdf"}),
    "tables.en.md": ({"byron/tables", "byron/tagging"}, set()),
}


def golden(name: str) -> Document:
    return read_document(GOLDEN / name, name)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dialect(name: str) -> None:
    document = golden(name)
    assert [(n.line, n.paper_id, n.title, n.authors, n.venue, n.year, n.tags) for n in document.notes] == EXPECTED[name]
    assert (document.skipped, document.no_paper) == ((), "")


@pytest.mark.parametrize("name", CODE)
def test_which_code_is_the_papers_own(name: str) -> None:
    own, other = CODE[name]
    found = [m for n in golden(name).notes for m in n.mentions if m.kind == "repository"]
    assert {m.target.removeprefix("https://github.com/") for m in found if m.confidence >= 0.5} == own
    assert {m.target.removeprefix("https://github.com/") for m in found if m.confidence < 0.5} == other


@pytest.mark.parametrize(
    "name", ["one_paper.key_values.de.md", "review.ko.md", "ochiai.ja.md", "post.fr.md", "vault.es.md", "logseq.en.md"]
)
def test_the_text_of_a_note_is_all_of_its_text(name: str) -> None:
    (note,) = golden(name).notes
    text = re.sub(r"^---\n.*?\n---\n", "", (GOLDEN / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if line.strip() and "::" not in line and line.lstrip("# ") != note.title]
    assert [line for line in lines if line.strip() not in note.body] == []


def test_front_matter_keeps_what_it_says_besides() -> None:
    (note,) = golden("vault.es.md").notes
    assert note.body.startswith("status: leído\nrating: 5\n\n> [!note] Resumen")


def test_a_chapter_or_a_label_is_no_title() -> None:
    text = (
        "# Reading list\n\n## Metadata\n\n- [paper](https://arxiv.org/abs/2004.05150)\n\n"
        "## Links\n\n- pdf: https://arxiv.org/abs/2106.04554\n"
    )
    assert {n.title for n in parse_document(text, "x").notes} == {""}


def test_a_second_paper_in_an_item_and_one_below_it() -> None:
    text = (
        "- [Sparse Attention](https://arxiv.org/abs/2004.05150), [Dense Windows](https://arxiv.org/abs/2106.04554): compared.\n"
        "- [Third Work](https://arxiv.org/abs/1706.03762)\n  - [Fourth Work](https://arxiv.org/abs/1810.04805)\n    - faster\n"
    )
    assert [(n.paper_id, n.title, n.body) for n in parse_document(text, "x").notes] == [
        ("arxiv:2004.05150", "Sparse Attention", "[Dense Windows](https://arxiv.org/abs/2106.04554): compared."),
        ("arxiv:2106.04554", "Dense Windows", "compared."),
        ("arxiv:1706.03762", "Third Work", ""),
        ("arxiv:1810.04805", "Fourth Work", "- faster"),
    ]


def test_a_note_without_a_link_is_told_from_a_page_on_something_else() -> None:
    body = "Ada Byron, Carl Weber, ACL, 2020\n\n## Summary\n\nEach token looks at a window."
    review = f"# Sparse Attention for Long Documents\n\n{body}\n"
    (note,) = parse_document(review, "x.md").notes
    assert (note.title, note.authors, note.venue, note.year) == (
        "Sparse Attention for Long Documents",
        ("Ada Byron", "Carl Weber"),
        "ACL",
        2020,
    )
    assert note.body == body
    page = parse_document("# Newton's laws\n\nA body at rest stays at rest.\n\n## First law\n\nInertia.\n", "physics.md")
    assert (page.notes, page.skipped, page.no_paper) == ((), (), "no paper was found in the document")
    readme = parse_document("# Notes on papers and books\n\nThis repository holds notes.\n", "README.md")
    assert (readme.notes, readme.skipped) == ((), ())


def test_citations_and_footnotes() -> None:
    text = (
        "Windows make attention linear [@arxiv:2004.05150; @doi:10.1038/nature14539], as known [^1].\n\n"
        '[^1]: Byron et al. "Sparse Attention for Long Documents", 2020. https://arxiv.org/abs/2106.04554\n'
    )
    assert [(n.paper_id, n.title) for n in parse_document(text, "x").notes] == [
        ("arxiv:2004.05150", ""),
        ("doi:10.1038/nature14539", ""),
        ("arxiv:2106.04554", "Sparse Attention for Long Documents"),
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://www.ncbi.nlm.nih.gov/pubmed/31452104", "url:https://pubmed.ncbi.nlm.nih.gov/31452104"),
        ("https://www.ncbi.nlm.nih.gov/pmc/articles/PMC7059364/", "url:https://pmc.ncbi.nlm.nih.gov/articles/PMC7059364"),
        ("https://ieeexplore.ieee.org/stamp/stamp.jsp?tp=&arnumber=4703190", "url:https://ieeexplore.ieee.org/document/4703190"),
        ("http://de.arxiv.org/abs/1409.1556", "arxiv:1409.1556"),
        ("https://web.archive.org/web/2020/https://arxiv.org/abs/1409.1556", "arxiv:1409.1556"),
        ("https://papers.cool/arxiv/1409.1556", "arxiv:1409.1556"),
        ("https://www.frontiersin.org/articles/10.3389/fnins.2018.00331/full", "doi:10.3389/fnins.2018.00331"),
        ("https://journals.plos.org/plosone/article?id=10.1371/journal.pone.0130140", "doi:10.1371/journal.pone.0130140"),
        ("https://www.aclweb.org/anthology/N19-1423.pdf", "url:https://aclanthology.org/N19-1423"),
        ("https://www.biorxiv.org/content/10.1101/2020.01.01.123456v1.full.pdf", "doi:10.1101/2020.01.01.123456"),
        ("https://proceedings.mlr.press/v97/tan19a/tan19a.pdf", "url:https://proceedings.mlr.press/v97/tan19a.html"),
        ("https://papers.ssrn.com/sol3/papers.cfm?abstract_id=4167", "doi:10.2139/ssrn.4167"),
    ],
)
def test_an_address_of_a_publisher_is_a_paper(address: str, expected: str) -> None:
    assert paper_id(address) == expected
    (note,) = parse_document(f"- Some Windows, {address}\n", "x").notes
    assert (note.paper_id, note.title) == (expected, "Some Windows")


@pytest.mark.parametrize(
    "written", ["arXiv 2106.04554", "arXiv preprint arXiv:2106.04554", "arXiv: 2106.04554v2", "ArXiv：2106.04554"]
)
def test_an_identifier_without_a_link(written: str) -> None:
    (note,) = parse_document(f"- Dense Windows ({written}) - faster\n", "x").notes
    assert (note.paper_id, note.title, note.body) == ("arxiv:2106.04554", "Dense Windows", "faster")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "# 笔记\n\n- [窗口](https://arxiv.org/abs/2004.05150)\n"),
        ("utf-16", "# Notes\n\n- [Café windows](https://arxiv.org/abs/2004.05150)\n"),
        (
            "gb18030",
            "# 论文笔记\n\n- [用于长文档的稀疏注意力机制研究](https://arxiv.org/abs/2004.05150)：窗口让注意力变成线性的，这是一个很好的想法\n",
        ),
        (
            "shift_jis",
            "# 論文メモ\n\n- [長い文書のための疎な注意機構](https://arxiv.org/abs/2004.05150)：窓だけを見るので、とても速いです\n",
        ),
        (
            "euc-kr",
            "# 논문 노트\n\n- [긴 문서를 위한 희소 주의](https://arxiv.org/abs/2004.05150): 각 토큰은 창만 본다 그래서 빠르다\n",
        ),
        ("latin-1", "# Notes\n\n- [Fenêtres éparses](https://arxiv.org/abs/2004.05150) - première idée, déjà évaluée\n"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, text: str) -> None:
    file = tmp_path / "notes.md"
    file.write_bytes(text.encode(encoding))
    document = read_document(file, "notes.md")
    expected = parse_document(text, "notes.md")
    assert (document.notes, document.title) == (expected.notes, expected.title)
    assert bool(document.guessed_encoding) == (not encoding.startswith("utf"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.org", "#+TITLE: Notes\n* TODO [[https://arxiv.org/abs/2004.05150][Sparse Windows]] :nlp:\nText.\n"),
        ("a.html", '<ul>\n<li><a href="https://arxiv.org/abs/2004.05150">Sparse Windows</a> good</li>\n</ul>\n'),
        (
            "bookmarks.html",
            '<DL><p>\n<DT><H3>Papers</H3>\n<DT><A HREF="https://arxiv.org/abs/2004.05150" TAGS="nlp">Sparse Windows</A>\n</DL>\n',
        ),
        (
            "a.bib",
            "@article{b,\n title={Sparse Windows},\n author={Byron, Ada},\n eprint={2004.05150},\n archivePrefix={arXiv}\n}\n",
        ),
        ("a.ris", "TY  - JOUR\nTI  - Sparse Windows\nUR  - https://arxiv.org/abs/2004.05150\nER  - \n"),
        ("a.mdx", "- [Sparse Windows](https://arxiv.org/abs/2004.05150)\n"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (note,) = read_document(tmp_path / name, name).notes
    assert (note.paper_id, note.title) == ("arxiv:2004.05150", "Sparse Windows")


@pytest.mark.parametrize(
    "front",
    [
        '+++\ntitle = "Sparse Windows"\narxiv = "2004.05150"\n[taxonomies]\ntags = ["nlp"]\n+++\n',
        "---\ntitle: Sparse Windows\nurl: '[arXiv](https://arxiv.org/abs/2004.05150)'\ntags: nlp\n---\n",
        "---\ntitle: Sparse Windows\nbroken: [\narxiv: 2004.05150\ntags:\n  - nlp\n---\n",
        "title:: Sparse Windows\narxiv:: 2004.05150\ntags:: #nlp\n\n",
    ],
)
def test_front_matter_of_every_kind(front: str) -> None:
    (note,) = parse_document(front + "Text.\n", "x").notes
    assert (note.paper_id, note.title, note.tags, note.title_source) == (
        "arxiv:2004.05150",
        "Sparse Windows",
        ("nlp",),
        "metadata",
    )
    assert note.body.endswith("Text.")
