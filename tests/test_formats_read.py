"""Bibliographies of other programs as entries: BibTeX, RIS and CSL-JSON in the forms in which Zotero writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kb.errors import SourceError
from kb.formats.read import read_bibliography
from kb.formats.read.record import OTHERS
from kb.identifiers import title_id
from kb.library import Entry
from kb.papers import Author

ZOTERO_BIBTEX = r"""
@misc{vaswani_attention_2023,
	title = {Attention {Is} {All} {You} {Need}},
	url = {http://arxiv.org/abs/1706.03762},
	doi = {10.48550/arXiv.1706.03762},
	abstract = {The dominant sequence transduction models \$ \& \%},
	number = {{arXiv}:1706.03762},
	publisher = {{arXiv}},
	author = {Vaswani, Ashish and Gomez, Aidan N. and Kaiser, {\L}ukasz},
	month = aug,
	year = {2023},
	note = {arXiv:1706.03762 [cs]
version: 7},
	keywords = {Computer Science - Computation and Language, attention},
	annote = {Read this \emph{first}.},
}

@article{vandermaaten2008,
  title = {Visualizing data using t-{SNE}},
  author = {van der Maaten, Laurens and Hinton, Geoffrey and {The {ML} Group} and King, Jr., Martin},
  journal = {Journal of Machine Learning Research},
  year = 2008,
  doi = {https://doi.org/10.5555/1390681.1442794}
}
@inproceedings{schr, title={K{\"a}se \& {\'E}cole: {$\ell_1$}}, author={Schr{\"o}dinger, Erwin and others},
  booktitle = {Proc. of X}, year={1999}}
@comment{not an entry}
@string{jmlr = "JMLR"}
@article{notitle, author={A, B}}
@article{vandermaaten2008, title={The same key}, url={https://example.org/x?a=1&b=2#top}}
@article{broken, title={never ends
"""


def test_bibtex(tmp_path: Path) -> None:
    file = tmp_path / "zotero.bib"
    file.write_text(ZOTERO_BIBTEX, encoding="utf-8")
    found = read_bibliography(file)
    assert found.entries == (
        Entry(
            "arxiv:1706.03762",
            "Attention Is All You Need",
            (Author("Vaswani", "Ashish"), Author("Gomez", "Aidan N."), Author("Kaiser", "Łukasz")),
            2023,
            "",
            "Read this first.",
            ("Computer Science - Computation and Language", "attention"),
        ),
        Entry(
            "doi:10.5555/1390681.1442794",
            "Visualizing data using t-SNE",
            (
                Author("van der Maaten", "Laurens"),
                Author("Hinton", "Geoffrey"),
                Author("The ML Group"),
                Author("King", "Martin", "Jr."),
            ),
            2008,
            "Journal of Machine Learning Research",
        ),
        Entry(title_id("Käse & École: ℓ₁"), "Käse & École: ℓ₁", (Author("Schrödinger", "Erwin"), OTHERS), 1999, "Proc. of X"),
        Entry("url:https://example.org/x?a=1&b=2", "The same key"),
    )
    assert found.keys[:2] == (
        ("arxiv:1706.03762", "vaswani_attention_2023"),
        ("doi:10.5555/1390681.1442794", "vandermaaten2008"),
    )
    assert [(s.line, s.reason.split(" `")[0]) for s in found.skipped] == [
        (29, "the entry 'notitle' has no title"),
        (31, "no BibTeX entry that can be read, a brace may be missing: Unexpectedly reached end of file."),
    ]


RIS = """TY  - JOUR
TI  - Attention Is All You Need
AU  - Vaswani, Ashish
AU  - Kaiser, Łukasz
PY  - 2017/06/12/
DO  - 10.48550/arXiv.1706.03762
UR  - http://arxiv.org/abs/1706.03762
T2  - arXiv
KW  - attention
N1  - Comment: 15 pages, 5 figures
N1  - Read this first.
ER  -

TY  - CONF
TI  - A paper with a DOI alone
AU  - NVIDIA
AU  - Smith, John, III
T2  - Proceedings of Something
PY  - 2021
DO  - 10.1145/3292500.3330701
ER  -

TY  - JOUR
AU  - Nobody, At
ER  -
"""


def test_ris(tmp_path: Path) -> None:
    file = tmp_path / "export.ris"
    file.write_text(RIS, encoding="utf-8-sig", newline="\r\n")
    found = read_bibliography(file)
    assert found.entries == (
        Entry(
            "arxiv:1706.03762",
            "Attention Is All You Need",
            (Author("Vaswani", "Ashish"), Author("Kaiser", "Łukasz")),
            2017,
            "",
            "Read this first.",
            ("attention",),
        ),
        Entry(
            "doi:10.1145/3292500.3330701",
            "A paper with a DOI alone",
            (Author("NVIDIA"), Author("Smith", "John", "III")),
            2021,
            "Proceedings of Something",
        ),
    )
    assert [(s.line, s.reason) for s in found.skipped] == [(23, "the reference has no title (TI)")]


CSL = """[
 {"id": "http://zotero.org/users/1/items/AB", "type": "article", "title": "Attention <i>Is</i> All You Need",
  "publisher": "arXiv", "number": "arXiv:1706.03762", "DOI": "10.48550/arXiv.1706.03762", "citation-key": "vaswani17",
  "author": [{"family": "Vaswani", "given": "Ashish"},
             {"family": "Maaten", "given": "Laurens", "non-dropping-particle": "van der"}, {"literal": "NVIDIA"}],
  "issued": {"date-parts": [["2017", 6, 12]]}},
 {"id": "b", "type": "webpage", "title": "Blog", "URL": "https://example.org/post/", "issued": {"raw": "May 2020"}, "author": 3},
 {"id": "c", "type": "book"}, 7]
"""


def test_csl_json(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(CSL, encoding="utf-8")
    found = read_bibliography(file)
    assert found.entries == (
        Entry(
            "arxiv:1706.03762",
            "Attention Is All You Need",
            (Author("Vaswani", "Ashish"), Author("van der Maaten", "Laurens"), Author("NVIDIA")),
            2017,
        ),
        Entry("url:https://example.org/post", "Blog", (), 2020),
    )
    assert found.keys == (("arxiv:1706.03762", "vaswani17"), ("url:https://example.org/post", "b"))
    assert [s.reason for s in found.skipped] == ["item 3 has no title", "item 4 has no title"]


BETTER_BIBTEX = r"""
@online{vaswaniAttentionAllYou2023,
  title = {{{Attention Is All You Need}}},
  author = {Vaswani, Ashish and family=Berg, given=Anna, prefix=van den, useprefix=true},
  date = {2023-08-02},
  eprint = {1706.03762},
  eprinttype = {arXiv},
  eprintclass = {cs},
  url = {http://arxiv.org/abs/1706.03762},
  urldate = {2024-01-05},
  langid = {english},
  pubstate = {prepublished},
  keywords = {nlp,to read},
  file = {/home/x/Zotero/a.pdf:/home/x/Zotero/b.html}
}
"""
# The columns that Zotero writes, less those in the middle that hold nothing here; one item has two rows of its note's lines.
ZOTERO_CSV = """\ufeff"Key","Item Type","Publication Year","Author","Title","Publication Title","ISBN","ISSN","DOI","Url",\
"Abstract Note","Date","Date Added","Number","Archive","Archive Location","Extra","Notes","File Attachments","Manual Tags",\
"Automatic Tags","Editor","Conference Name"
"5YJW4XAA","preprint","2023","Vaswani, Ashish; Kaiser, Łukasz; The ML Group","Attention <i>Is</i> All You Need","","","",\
"10.48550/arXiv.1706.03762","http://arxiv.org/abs/1706.03762","The ""dominant"" models","2023-08-02","2024-01-05 10:00:00",\
"arXiv:1706.03762","","","arXiv:1706.03762 [cs]
Citation Key: vaswani17","<p>Read this <b>first</b>.</p>
<p>Again.</p>","/home/x/a.pdf","nlp; to read","Computer Science - Computation and Language","",""
"8QAAB2CD","journalArticle","2008","van der Maaten, Laurens","Visualizing Data using t-SNE",\
"Journal of Machine Learning Research","","1533-7928","","http://jmlr.org/papers/v9/vandermaaten08a.html","{long}",\
"2008","2024-01-05 10:00:00","","","","","","","","","",""
"C3","attachment","","","a.pdf","","","","","","","","","","","","","","","","","",""
"D4","journalArticle","","","","","","","","","","","","","","","","","","","","",""
"E5","book","1999"
"F6","conferencePaper","","Sun, Eva","A short row"
"""


def test_better_bibtex(tmp_path: Path) -> None:
    file = tmp_path / "library.bib"
    file.write_text(BETTER_BIBTEX, encoding="utf-8")
    found = read_bibliography(file)
    (entry,) = found.entries
    assert (entry.paper_id, entry.title, entry.year) == ("arxiv:1706.03762", "Attention Is All You Need", 2023)
    assert (entry.tags, entry.authors[0]) == (("nlp", "to read"), Author("Vaswani", "Ashish"))
    assert found.keys == (("arxiv:1706.03762", "vaswaniAttentionAllYou2023"),)
    assert entry.authors[1] == Author("van den Berg", "Anna")


def test_zoteros_csv(tmp_path: Path) -> None:
    file = tmp_path / "library.csv"
    file.write_text(ZOTERO_CSV.replace("{long}", "x" * 140_000), encoding="utf-8")
    found = read_bibliography(file)
    assert found.entries == (
        Entry(
            "arxiv:1706.03762",
            "Attention Is All You Need",
            (Author("Vaswani", "Ashish"), Author("Kaiser", "Łukasz"), Author("The ML Group")),
            2023,
            "",
            "Read this first . Again.",
            ("nlp", "to read"),
        ),
        Entry(
            "url:https://jmlr.org/papers/v9/vandermaaten08a.html",
            "Visualizing Data using t-SNE",
            (Author("van der Maaten", "Laurens"),),
            2008,
            "Journal of Machine Learning Research",
        ),
        Entry(title_id("A short row"), "A short row", (Author("Sun", "Eva"),)),
    )
    assert found.keys == (("arxiv:1706.03762", "vaswani17"),)
    assert [(s.line, s.reason) for s in found.skipped] == [(7, "the row has no Title"), (8, "the row has no Title")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"just a text", "neither BibTeX nor RIS nor CSL-JSON nor Zotero's CSV"),
        (b"", "neither BibTeX nor RIS nor CSL-JSON nor Zotero's CSV"),
        (b'[{"title": ', "is no JSON"),
        (b"@article{x, title={\xe9}}", "byte 19 is no UTF-8"),
    ],
)
def test_what_is_no_bibliography_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_bibliography(file)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_bibliography(tmp_path / "missing")
