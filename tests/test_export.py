"""Exports: golden files, other people's programs, round trips, keys, venues, hostile text."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import feedparser
import pytest
from markdown_it import MarkdownIt

from ingest.notes import parse_document
from kb.cli.export import write_output
from kb.errors import SourceError
from kb.formats import WRITERS, Reference
from kb.formats.markdown import entry_of_note
from kb.formats.read import read_bibliography
from kb.formats.reference import clean_authors, default_key, default_keys, make_reference, with_keys
from kb.formats.venue import Venue, published_venue
from kb.library import Choices, Entry
from kb.papers import Author, CodeLink, Paper, Version
from kb.text.latex import bibtex_title, to_unicode

GOLDEN = Path(__file__).parent / "golden" / "export"
SUFFIXES = {
    "bibtex": "bib", "ris": "ris", "csl-json": "json", "csv": "csv", "markdown": "md", "obsidian": "obsidian.md", "atom": "xml",
}  # fmt: skip
ADDED = datetime(2025, 10, 3, 12, 30)
PAPERS = (
    Paper(
        "arxiv:1706.03762",
        "Attention Is All You Need",
        "The dominant models. 50% & more: $x_1$ costs \\$5.",
        (Author("Vaswani", "Ashish"), Author("Kaiser", "{\\L}ukasz")),
        ("cs.CL", "cs.LG"),
        "15 pages, 5 figures",
        "Advances in Neural Information Processing Systems 30 (2017)",
        "10.5555/3295222.3295349",
        published=date(2017, 6, 12),
        year=2017,
        versions=(Version(1), Version(7)),
    ),
    Paper(
        "arxiv:0802.00001".replace("00001", "0001"),
        "L$^2$-norms of GANs for $\\ell_{1}$ {E}rd\\H{o}s_graphs: A 3D Study",
        authors=(Author("van der Maaten", "Laurens"), Author("King", "Martin", "Jr."), Author("NVIDIA"), Author(":")),
        categories=("stat.ML",),
        comments="Accepted at ICLR 2021. Code: https://github.com/example/gans",
        year=2008,
        versions=(Version(1),),
    ),
    Paper(
        "doi:10.1109/tpami.2020.1",
        "Ångström & Öztürk: de-noising for free",
        authors=(Author("de la Cruz", "María José"), Author("ATLAS Collaboration")),
        journal_ref="IEEE Trans. Pattern Anal. Mach. Intell. 42(3), 12--34 (2020)",
        year=2019,
        origin="notes",
    ),
    Paper(
        "url:https://example.org/p?a={b}",
        '=HYPERLINK("http://evil") } \\input{/etc/passwd} <script>alert(1)</script> [x](javascript:y) `$\\write18{rm}$`',
        authors=(Author("O'Neil, and Sons", "\\immediate"), Author("Lee and Co")),
        url="https://example.org/p?a=%7Bb%7D",
        origin="notes",
    ),
    Paper("arxiv:2510.00001", "A note on nothing", authors=tuple(Author(f"Name{n}", "Ada") for n in range(30)), year=2025),
)
ENTRIES = (
    Entry(
        "arxiv:1706.03762",
        "",
        remark="Read *this* first.\n\n# Not a heading\n\n- one\n- two",
        tags=("attention", "to read"),
        added=ADDED,
    ),
    Entry("arxiv:0802.0001", "", added=ADDED, read=datetime(2025, 10, 4)),
    Entry("doi:10.1109/tpami.2020.1", "", remark="@import", tags=("+1",), added=datetime(2025, 9, 1)),
    Entry("url:https://example.org/p?a={b}", "", remark="-2+3\x07 TY  - JOUR\nER  - \n]]> \\end{document}", added=ADDED),
    Entry("arxiv:2510.00001", "", added=ADDED),
    Entry("arxiv:2104.00099", "Known by the list alone", (Author("Nobody", "N."),), 2021, "ICML 2021", added=ADDED),
)
CODE = {"arxiv:1706.03762": [CodeLink("https://github.com/tensorflow/tensor2tensor", "abstract")]}


def references(entries: tuple[Entry, ...] = ENTRIES) -> list[Reference]:
    papers = {paper.id: paper for paper in PAPERS}
    found = [make_reference(e, papers.get(e.paper_id), CODE.get(e.paper_id, ())) for e in entries]
    return with_keys(found, dict(default_keys(found)))


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_golden(form: str) -> None:
    text = WRITERS[form]("My list & <more>", references())
    assert text.encode() == (GOLDEN / f"list.{SUFFIXES[form]}").read_bytes()
    assert WRITERS[form]("My list & <more>", references()) == text


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_an_empty_list(form: str) -> None:
    text = WRITERS[form]("Empty", [])
    assert "Empty" in text or form in {"bibtex", "ris", "csl-json", "csv"}


# Other people's programs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "reader"), [("bibtex", "bibtex"), ("ris", "ris"), ("csl-json", "csljson")])
def test_pandoc_renders_it_without_a_warning(form: str, reader: str) -> None:
    pandoc = shutil.which("pandoc")
    if pandoc is None:
        pytest.skip("pandoc is not installed: https://pandoc.org/installing.html")
    known = subprocess.run([pandoc, "--list-input-formats"], capture_output=True, text=True, check=True).stdout.split()
    if reader not in known:
        pytest.skip(f"this pandoc does not read {reader}; 3.0 does")
    text = WRITERS[form]("List", references())
    command = [pandoc, "-f", reader, "--citeproc", "-t", "plain", "--wrap=none"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert len(lines) == len(ENTRIES)
    assert sum("Maaten, Laurens van der" in line or "van der Maaten, Laurens" in line for line in lines) == 1
    (attention,) = (line for line in lines if "Attention" in line)
    assert "Łukasz Kaiser" in attention
    assert "Advances in Neural Information Processing Systems" in attention
    assert "2017" in attention


def test_feedparser_takes_the_feed() -> None:
    feed = feedparser.parse(WRITERS["atom"]("My list", references()))
    assert not feed.bozo
    assert (feed.version, feed.feed.title, feed.feed.updated) == ("atom10", "My list", "2025-10-03T12:30:00+00:00")
    assert [e.title for e in feed.entries] == [r.plain_title for r in [*references()[:2], *references()[3:], references()[2]]]
    first = feed.entries[0]
    assert first.published == "2017-06-12T00:00:00+00:00"
    assert first.id == "https://arxiv.org/abs/1706.03762"
    assert [(k.rel, k.href) for k in first.links] == [
        ("alternate", "https://arxiv.org/abs/1706.03762"),
        ("related", "https://github.com/tensorflow/tensor2tensor"),
    ]
    assert [a.name for a in first.authors] == ["Ashish Vaswani", "Łukasz Kaiser"]


# Round trips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["markdown", "obsidian"])
def test_markdown_is_the_same_after_a_round_trip(form: str) -> None:
    known = references(ENTRIES[:3] + ENTRIES[4:])
    text = WRITERS[form]("My list", known)
    document = parse_document(text, "list.md")
    assert document.title == "My list"
    assert document.skipped == ()
    assert [(n.paper_id, n.title, n.year) for n in document.notes] == [(r.paper_id, r.plain_title, r.year) for r in known]
    entries = [entry_of_note(note) for note in document.notes]
    assert [[a.name for a in e.authors] for e in entries] == [[a.name for a in r.authors] for r in known]
    assert [e.remark for e in entries[1:]] == [r.remark for r in known[1:]]
    again = [make_reference(e, None, [CodeLink(url, "notes") for url in r.code]) for e, r in zip(entries, known, strict=True)]
    # What only the catalogue or the library knows, a list read back gets from there.
    kept = [
        Reference(**{name: getattr(a, name) for name in Reference.__slots__} | {"key": r.key, "arxiv": r.arxiv})
        for a, r in zip(again, known, strict=True)
    ]
    assert WRITERS[form]("My list", kept) == text


@pytest.mark.parametrize("form", ["bibtex", "ris", "csl-json"])
def test_what_is_exported_can_be_imported(form: str, tmp_path: Path) -> None:
    file = tmp_path / "list"
    known = references(ENTRIES[:3] + ENTRIES[4:])
    file.write_text(WRITERS[form]("List", known), encoding="utf-8")
    found = read_bibliography(file)
    assert found.skipped == ()
    wanted = [(r.doi and not r.arxiv and f"doi:{r.doi}") or r.paper_id for r in known]
    assert [e.paper_id for e in found.entries] == wanted
    assert [e.authors for e in found.entries] == [r.authors for r in known]
    assert [e.year for e in found.entries] == [r.year for r in known]
    assert [key for _, key in found.keys] == [r.key for r in known]


# Keys ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "year", "title", "key"),
    [
        ("Vaswani", 2017, "Attention Is All You Need", "vaswani2017attention"),
        ("van der Maaten", 2008, "Visualizing data using t-SNE", "maaten2008visualizing"),
        ("Łukasiewicz", 2020, "On the Große Frage", "lukasiewicz2020grosse"),
        ("Ørsted", None, "The $\\ell_1$ norm", "orstedl1"),
        ("O'Neil", 2001, "BERT: Pre-training", "oneil2001bert"),
        ("李", 2020, "深度学习", "2020"),
        ("李", None, "深度学习", "untitled"),
    ],
)
def test_citation_keys(family: str, year: int | None, title: str, key: str) -> None:
    assert default_key((Author(family, "X."),), year, title) == key


@pytest.mark.parametrize(
    ("served", "written"),
    [
        (Author("Veen", "M. H. van der", "Jr."), Author("van der Veen", "M. H.", "Jr.")),
        (Author("Rijke", "Maarten de"), Author("de Rijke", "Maarten")),
        (Author("Minh", "Van"), Author("Minh", "Van")),
        (Author("Zu", "al"), Author("Zu", "al")),
        (Author("Maaten", "Laurens v."), Author("Maaten", "Laurens v.")),
    ],
)
def test_a_particle_goes_with_the_family_name(served: Author, written: Author) -> None:
    assert clean_authors([served]) == (written,)


def test_keys_do_not_change_when_a_list_does(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "library.sqlite")
    twins = [make_reference(Entry(f"arxiv:2001.0000{n}", "Deep nets", (Author("Li", "A."),), 2020), None, ()) for n in (1, 2, 3)]
    first = choices.citation_keys(default_keys(twins[1:]))
    assert first == {"arxiv:2001.00002": "li2020deep", "arxiv:2001.00003": "li2020deep-2"}
    assert choices.citation_keys(default_keys(twins)) == {**first, "arxiv:2001.00001": "li2020deep-3"}


# Venues ----------------------------------------------------------------------------------------------------------------

NEURIPS = "Advances in Neural Information Processing Systems"
ICLR = "International Conference on Learning Representations"
CVPR = "IEEE/CVF Conference on Computer Vision and Pattern Recognition"


@pytest.mark.parametrize(
    ("journal_ref", "comments", "venue"),
    [
        ("", "Accepted at ICLR 2021", Venue(ICLR, "conference", 2021)),
        ("", "NeurIPS 2020", Venue(NEURIPS, "conference", 2020)),
        ("", "8 pages, 3 figures, NeurIPS'20 (oral)", Venue(NEURIPS, "conference", 2020)),
        ("", "Accepted to NeurIPS 25", Venue(NEURIPS, "conference", 2025)),
        ("", "CVPR2025. Code: https://github.com/a/b", Venue(CVPR, "conference", 2025)),
        ("", "Accepted by CVPR", Venue(CVPR, "conference", None)),
        ("", "Accepted to the CVPR 2026 HiGen Workshop", Venue(f"{CVPR} Workshops", "conference", 2026)),
        (
            "",
            "Findings of ACL 2025",
            Venue("Findings of the Annual Meeting of the Association for Computational Linguistics", "conference", 2025),
        ),
        ("", "Published in TMLR (05/2023)", Venue("Transactions on Machine Learning Research", "journal", 2023)),
        ("", "Accepted by IEEE Transactions on Multimedia (TMM)", Venue("IEEE Transactions on Multimedia", "journal", None)),
        (
            "",
            "Accepted at IEEE Transactions on Vehicular Technology",
            Venue("IEEE Transactions on Vehicular Technology", "journal"),
        ),
        ("", "Submitted to ICLR 2026", None),
        ("", "Under review at NeurIPS 2025", None),
        ("", "9 pages, 7 figures, submitted to ACL ARR 2026", None),
        ("", "Preprint. Rejected from ICML 2020", None),
        ("", "1st place solution of the CVPR 2025 Autonomous Grand Challenge", None),
        ("", "Uses the NeurIPS 2024 style", None),
        ("", "We compare with the winners of ECCV 2020 papers on tracking", None),
        ("", "Extended version of our CVPR 2020 paper", None),
        ("", "see http://www.example.org", None),
        ("", "12 pages, 4 figures", None),
        ("", "", None),
        ("arXiv:1706.03762", "ICLR 2021", Venue(ICLR, "conference", 2021)),
        ("Phys. Rev. D 76, 013009 (2007)", "", Venue("Phys. Rev. D", "journal", 2007, "76", "", "013009")),
        ("Journal of X 12(3), 45--67 (2010)", "ICLR 2021", Venue("Journal of X", "journal", 2010, "12", "3", "45–67")),
        ("Proceedings of the 35th ICML, 2018", "", Venue("Proceedings of the 35th ICML, 2018", "conference", 2018)),
        ("NeurIPS 2019", "", Venue("NeurIPS 2019", "conference", 2019)),
        ("Machine Learning Journal, to appear", "", Venue("Machine Learning Journal, to appear", "journal", None)),
    ],
)
def test_venues(journal_ref: str, comments: str, venue: Venue | None) -> None:
    assert published_venue(journal_ref, comments) == venue


# LaTeX and hostile text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "plain", "bibtex"),
    [
        ("Attention Is All You Need", "Attention Is All You Need", "Attention Is All You Need"),
        ("BERT: Pre-training", "BERT: Pre-training", "{BERT}: Pre-training"),
        ("GPT-4 and Self-Attention in 3D", "GPT-4 and Self-Attention in 3D", "{GPT-4} and Self-Attention in {3D}"),
        ("X$^{2}$-Gaussian", "X²-Gaussian", "{X}{$^{2}$}-Gaussian"),
        ("R$^2$Gen: Di$\\mathtt{M}$O-Med", "R²Gen: DiMO-Med", "{R}{$^2$}{Gen}: {Di}{$\\mathtt{M}$}{O-Med}"),
        ("$k$-Means in $O$-Shape and Tier$_1$", "k-Means in O-Shape and Tier₁", "{$k$}-Means in {$O$}-Shape and {Tier}{$_1$}"),
        ("Command A", "Command A", "Command {A}"),
        ("Command A: A Study in A Clinic", "Command A: A Study in A Clinic", "Command {A}: A Study in A Clinic"),
        ("Vitamin C and O(1), X-Ray, Q*", "Vitamin C and O(1), X-Ray, Q*", "Vitamin {C} and {O(1}), {X-Ray}, {Q*}"),
        ("Attack--Defense --- a View", "Attack–Defense — a View", "Attack–Defense — a View"),
        ("Super-Resolution ($\\times$4)", "Super-Resolution (×4)", "Super-Resolution ({$\\times$}4)"),
        ("$\\mathcal{O}(n^2)$ to $O(n\\log n)$", "O(n²) to O(n log n)", "{$\\mathcal{O}(n^2)$} to {$O(n\\log n)$}"),
        ("$\\log\\log{n}$, $2\\sin \\theta$, $\\log_2 n$", "log log n, 2 sin θ, log₂ n", None),
        ("$O(\\sqrt[3]{\\log n})$", "O(³√(log n))", "{$O(\\sqrt[3]{\\log n})$}"),
        ("GF(2^10), F_3^97", "GF(2¹⁰), F_3⁹⁷", None),
        ("costs $5 and $10, 50% off", "costs $5 and $10, 50% off", "costs \\$5 and \\$10, 50\\% off"),
        ("Schr\\\"odinger {\\'E}cole \\o", "Schrödinger École ø", "Schrödinger École ø"),
        ("R&D #1 a_b ~ {c}", "R&D #1 a_b c", "{R\\&D} \\#1 a\\_b c"),
        ("$\\input{/etc/passwd}$ $\\write18{x}$", "18x", "18x"),
        ("\\texttt{kb}: A \\textsc{Base}", "kb: A Base", "kb: A Base"),
        ("See \\href{https://a.org/b}{Base of $x$} \\href{https://a.org/c} \\href", "See Base of x https://a.org/c", None),
        ("\\textit{Agents} under $\\mathbf{siege}$", "Agents under siege", "Agents under {$\\mathbf{siege}$}"),
    ],
)
def test_titles_with_latex(title: str, plain: str, bibtex: str | None) -> None:
    assert to_unicode(title) == plain
    assert bibtex is None or bibtex_title(title) == bibtex


def test_no_cell_is_a_formula() -> None:
    rows = list(csv.reader(io.StringIO(WRITERS["csv"]("List", references()))))
    assert len(rows) == len(ENTRIES) + 1
    assert {len(row) for row in rows} == {15}
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_hostile_text_stays_text() -> None:
    hostile = references((ENTRIES[3],))
    bibtex = WRITERS["bibtex"]("x", hostile)
    assert "\\input" not in bibtex
    assert "\\write" not in bibtex
    assert bibtex.count("{") == bibtex.count("}")
    assert WRITERS["ris"]("x", hostile).count("\nER  -") == 1
    assert "<script>" not in WRITERS["markdown"]("x", hostile)
    assert "<script>" not in WRITERS["atom"]("x", hostile)
    (item,) = json.loads(WRITERS["csl-json"]("x", hostile))
    assert item["URL"] == "https://example.org/p?a=%7Bb%7D"
    links = re.findall(r'(?:href|src)="([^"]*)"', MarkdownIt().render(WRITERS["markdown"]("x", hostile)))
    assert links == ["https://example.org/p?a=%7Bb%7D"]


@pytest.mark.parametrize("form", WRITERS)
def test_hidden_characters_do_not_pass(form: str) -> None:
    """What turns the direction of writing, or is not seen, would show another text than the one that a program reads."""
    hidden = "\u202e\u2066\u200b\ufeff\u00ad\x1b\x9b\x00\U000e0041"
    paper = replace(
        PAPERS[0], title=f"Atten{hidden}tion", abstract=f"An{hidden} abstract", authors=(Author(f"Li{hidden}u", f"W{hidden}ei"),)
    )
    entry = Entry.of(paper, f"read{hidden} this \u200cمی\u200cخواهم", (f"ta{hidden}g",))
    text = WRITERS[form](f"A{hidden} list", [make_reference(entry, paper, (), "key")])
    assert not set(text) & set(hidden)
    assert "Attention" in text
    if form in {"markdown", "obsidian", "csv"}:
        assert "read this \u200cمی\u200cخواهم" in text  # joiners belong to the spelling of Persian


# The file ------------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target, link = tmp_path / "dotfiles" / "refs.bib", tmp_path / "refs.bib"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_output(link, "new")
    assert (link.is_symlink(), target.read_text(), stat.S_IMODE(target.stat().st_mode)) == (True, "new", 0o600)
    inode = target.stat().st_ino
    write_output(link, "new")
    assert target.stat().st_ino == inode  # an equal file is left alone


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        write_output(pipe, "content")
        assert read.result(timeout=60) == "content"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_device_is_written_to() -> None:
    write_output(Path("/dev/null"), "content")
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be written: Is a directory"):
        write_output(tmp_path, "content")
    assert list(tmp_path.iterdir()) == []
