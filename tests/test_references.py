"""References that stay themselves through import: identity, keys, names, years, markup, and the files of careless programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kb.errors import IdentifierError, QueryError
from kb.formats import WRITERS, references_of
from kb.formats.read import Bibliography, add_to_list, parse_bibliography
from kb.formats.reference import make_reference
from kb.identifiers import paper_id
from kb.library import Choices, Entry, Library
from kb.papers import Author, Paper
from kb.store.catalogue import author_pattern, parse_categories, parse_years


def read(text: str) -> Bibliography:
    return parse_bibliography(text.encode(), "refs")


def ids(text: str) -> list[str]:
    return [entry.paper_id for entry in read(text).entries]


def names(text: str) -> list[str]:
    (entry,) = read(text).entries
    return [" / ".join(filter(None, (a.family, a.given, a.suffix))) for a in entry.authors]


@pytest.fixture
def library(tmp_path: Path) -> tuple[Library, Choices]:
    return Library(tmp_path / "library.sqlite"), Choices(tmp_path / "library.sqlite")


# An entry is itself -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("eprint = {https://arxiv.org/abs/2301.00001v2}, eprinttype = {arXiv}", "arxiv:2301.00001"),
        ("eprint = {2301.00001 [cs.RO]}, archiveprefix = {arXiv}", "arxiv:2301.00001"),
        ("eprint = {arXiv.2301.00001}", "arxiv:2301.00001"),
        ("eprint = {hal-01234567}, archiveprefix = {HAL}", ""),
        ("arxiv = {2301.00001}", "arxiv:2301.00001"),
        ("arxivid = {2301.00001v1}", "arxiv:2301.00001"),
        ("journal = {CoRR}, volume = {math.GT/0309136}", "arxiv:math/0309136"),
        ("journal = {CoRR}, volume = {abs/2301.00001}", "arxiv:2301.00001"),
        ("journal = {arXiv preprint arXiv:2301.00001}", "arxiv:2301.00001"),
        ("note = {arXiv:2301.00001 [cs.RO]}", "arxiv:2301.00001"),
        ("note = {arXiv:2301.00001v3 [cs, stat]\nversion: 3}", "arxiv:2301.00001"),
        ("note = {arXiv preprint arXiv:2301.00001, 2023}", "arxiv:2301.00001"),
        (r"howpublished = {\url{https://arxiv.org/abs/2301.00001}}", "arxiv:2301.00001"),
        ("note = {Reply to arXiv:2301.00001}", ""),
        ("note = {Extends arXiv:2301.00001, which it answers}", ""),
        ("note = {See https://arxiv.org/abs/2301.00001 for the proofs}", ""),
        ("volume = {2301.00001}, journal = {Journal of Numbers}", ""),
        ("doi = {10.5555/a.1}, note = {Comment on arXiv:2301.00001}", "doi:10.5555/a.1"),
        ("doi = {10.5555/a.1 10.5555/b.2}", "doi:10.5555/a.1"),
        ("doi = {https://doi.org/10.5555/a.1}", "doi:10.5555/a.1"),
    ],
)
def test_an_identifier_counts_where_it_is_the_entrys_own(field: str, expected: str) -> None:
    (found,) = ids(f"@misc{{k, title = {{A Title of Several Words}}, {field}}}")
    assert found == expected or (not expected and found.startswith("url:note:"))


def test_works_of_one_title_stay_apart_and_doubles_are_told() -> None:
    text = """@misc{a, title={Introduction}, author={Quenby, Ada}, year=2001}
@misc{b, title={Introduction}, author={Marl, Otis}, year=2015}
@misc{c, title={Introduction}, author={Marl, Otis}, year=2016}
@misc{d, title={introduction}, author={O. Marl}, year=2016}
@misc{e, title={Learning to Sort Pebbles}, author={Marl, Otis}, year=2016}
@misc{f, title={Learning to sort pebbles}, author={Otis Marl}, year=2018}
"""
    found = read(text)
    assert [(e.title, e.year) for e in found.entries] == [
        ("Introduction", 2001), ("Introduction", 2015), ("Introduction", 2016), ("Learning to Sort Pebbles", 2016)
    ]  # fmt: skip
    assert [key for _, key in found.keys] == ["a", "b", "c", "e"]
    assert [notice.split(" is the")[0] for notice in found.notices] == ["refs:4: d", "refs:6: f"]


def test_another_list_with_a_work_of_that_title_keeps_it(library: tuple[Library, Choices]) -> None:
    for name, author in (("one", "Quenby, Ada"), ("two", "Marl, Otis"), ("two", "Marl, Otis")):
        add_to_list(read(f"@misc{{k, title={{On Kites and Wind}}, author={{{author}}}}}"), name, *library, None)
    one, two = (library[0].read_list(name).entries for name in ("one", "two"))
    assert [len(one), len(two)] == [1, 1]
    assert one[0].paper_id != two[0].paper_id
    assert two[0].authors == (Author("Marl", "Otis"),)


# Keys ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["Marl, 2020 {b}", "two words", "50%_off#\\\\x", "a~b", "x=y", "it's"])
def test_what_bibtex_cannot_hold_is_no_key(key: str, library: tuple[Library, Choices]) -> None:
    found = read(f'[{{"id": "{key}", "title": "Notes on Ink", "author": [{{"family": "Marl"}}], "issued": "2020"}}]')
    assert found.keys == ()
    assert len(found.notices) == 1
    add_to_list(found, "a", *library, None)
    (reference,) = references_of(library[0].read_list("a"), None, library[1])
    assert reference.key == "marl2020notes"


def test_zoteros_address_of_an_item_is_no_key() -> None:
    found = read('[{"id": "http://zotero.org/users/1/items/ABCD2345", "title": "Notes on Glue"}]')
    assert (found.keys, found.notices) == ((), ())


def test_a_key_that_is_taken_is_told(library: tuple[Library, Choices]) -> None:
    add_to_list(read("@misc{smith, title={Ash Trees}, author={Smith, Ann}}"), "one", *library, None)
    done = add_to_list(read("@misc{smith, title={Birch Trees}, author={Smith, Bob}}"), "two", *library, None)
    assert done.notices == ("smith became smith-2: another paper has the key smith",)
    done = add_to_list(read("@misc{own, title={Ash Trees}, author={Smith, Ann}}"), "two", *library, None)
    (told,) = done.notices
    assert told.startswith("own gave way to smith, the key that url:note:")


# Names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("Nowa, U., Misr, A., Usad, K. D.", ["Nowa / U.", "Misr / A.", "Usad / K. D."]),
        ("Jon Smit, Jane Dow, and Bob Row", ["Smit / Jon", "Dow / Jane", "Row / Bob"]),
        ("Ann Aan; Bo Ban; Cy Can", ["Aan / Ann", "Ban / Bo", "Can / Cy"]),
        ("{Nowa, U. and Misr, A.}", ["Nowa / U.", "Misr / A."]),
        (r"Ann Aan \& Bo Ban", ["Aan / Ann", "Ban / Bo"]),
        ("Smit Jr., Jon and Quist, III, Berta", ["Smit / Jon / Jr.", "Quist / Berta / III"]),
        ("Martin Luther King Jr. and Hal Dome, Sr.", ["King / Martin Luther / Jr.", "Dome / Hal / Sr."]),
        ("{The BELLOW Collaboration} and {Barnes and Noble}", ["The BELLOW Collaboration", "Barnes and Noble"]),
        ("Garcia Marquez, Gabriel Jose", ["Garcia Marquez / Gabriel Jose"]),
        ("van der Maaten, Laurens and Piet van 't Veld", ["van der Maaten / Laurens", "van 't Veld / Piet"]),
        ("Ann Aan and others", ["Aan / Ann", "others"]),
    ],
)
def test_lists_of_authors(author: str, expected: list[str]) -> None:
    assert names(f"@misc{{k, title={{A Title}}, author={{{author}}}}}") == expected


def test_authors_in_one_line_of_ris() -> None:
    assert names("TY  - JOUR\nAU  - Row, R.; Dow, J.\nTI  - Semicolons\nER  - \n") == ["Row / R.", "Dow / J."]


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        (Author.from_name("Anton Vale Jr."), Author("Vale", "Anton", "Jr.")),
        (Author.from_name("Berta Quist III"), Author("Quist", "Berta", "III")),
        (Author.from_name("Hal Dome, Sr."), Author("Dome", "Hal", "Sr.")),
        (Author.from_name("Piet van 't Veld"), Author("van 't Veld", "Piet")),
        (Author.from_name("王 小明"), Author("王", "小明")),
        (Author.from_name("John Smith V"), Author("V", "John Smith")),
        (Author.of_parts("III", "Hal Dome"), Author("Dome", "Hal", "III")),
        (Author.of_parts("Vale Jr.", "Anton"), Author("Vale", "Anton", "Jr.")),
    ],
)
def test_suffixes_and_particles(author: Author, expected: Author) -> None:
    assert author == expected


def test_and_others_and_groups_come_back_as_they_were(library: tuple[Library, Choices]) -> None:
    text = "@misc{k, title={A Title}, author={Vale, Jr., Anton and {Team Heron} and others}}"
    add_to_list(read(text), "a", *library, None)
    references = references_of(library[0].read_list("a"), None, library[1])
    written = {form: WRITERS[form]("a", references) for form in ("bibtex", "csl-json", "ris")}
    assert "author = {Vale, Jr., Anton and {Team Heron} and others}" in written["bibtex"]
    assert '"literal": "et al."' in written["csl-json"]
    assert "AU  - Vale, Anton, Jr.\nAU  - Team Heron\nAU  - et al." in written["ris"]


# Formats ------------------------------------------------------------------------------------------------------------------


def test_strings_are_put_together_and_references_inherit() -> None:
    text = """@string{proc = "Proceedings of the "}
@string{conf = proc # "Pebble Conference"}
@inproceedings{b1, title = "On " # "Pebbles", booktitle = conf, year = "20" # "12", month = 10 # "~" # jan}
@inproceedings{b2, title = {Part}, crossref = {whole}}
@proceedings{whole, title = {Proceedings of the Kite Conference}, year = 2011}
"""
    first, second, _ = read(text).entries
    assert (first.title, first.venue, first.year) == ("On Pebbles", "Proceedings of the Pebble Conference", 2012)
    assert (second.title, second.venue, second.year) == ("Part", "Proceedings of the Kite Conference", 2011)


def test_a_forgotten_comma_is_mended_and_told() -> None:
    found = read('@misc{h1,\n  title = {First Thing}\n  year = {2001}\n author = "Row, Rob"\n}\n@misc{h2, title = {Second}}')
    assert [(e.title, e.year, len(e.authors)) for e in found.entries] == [("First Thing", 2001, 1), ("Second", None, 0)]
    assert found.notices == ("refs:1: h1: a comma is missing after title", "refs:1: h1: a comma is missing after year")


@pytest.mark.parametrize(
    ("fields", "year"),
    [
        ("year = {1763}", 1763),
        ("date = {1843-09}", 1843),
        ("year = {forthcoming}, date = {2024-03}", 2024),
        ("date = {2019-12/2020-01}", 2019),
        ("year = {in press}", None),
        ("year = {c. 1998}", 1998),
    ],
)
def test_years(fields: str, year: int | None) -> None:
    (entry,) = read(f"@misc{{k, title = {{A Title}}, {fields}}}").entries
    assert entry.year == year


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (r"{Growth of {\textless}i{\textgreater}B. mossii{\textless}/i{\textgreater} in {\textless}sub{\textgreater}CO}",
         "Growth of B. mossii in CO"),
        ("Salt &amp; Light at &lt;5 Degrees", "Salt & Light at <5 Degrees"),
        ("A <i>Slanted</i> Word, and 3 < 5 > 4", "A Slanted Word, and 3 < 5 > 4"),
        ('<i>Moss</i> &amp; <span class="nocase">pH</span>', "Moss & pH"),
    ],
)  # fmt: skip
def test_markup_in_titles(title: str, expected: str) -> None:
    (entry,) = read(f"@misc{{k, title = {{{title}}}}}").entries
    assert entry.title == expected


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("  TY  - JOUR\n  TI  - Indented\n  PY  - 2011\n  ER  - \n", ["Indented"]),
        ("TY - JOUR\nTI - One Blank\nPY - 2011\nER - \n", ["One Blank"]),
        ("TY  - JOUR\nTI  - No End\nPY  - 2011\n\nTY  - JOUR\nTI  - Nor Here\nPY  - 2011", ["No End", "Nor Here"]),
        ("Exported by X\r\n\r\nTY  - JOUR\r\nTI  - After a Line\r\nPY  - 2011\r\nER  -\r\n", ["After a Line"]),
    ],
)
def test_ris_as_found_in_the_wild(text: str, titles: list[str]) -> None:
    found = read(text)
    assert [(e.title, e.year) for e in found.entries] == [(title, 2011) for title in titles]
    assert found.skipped == ()


def test_json_of_crossref_and_of_better_bibtex() -> None:
    crossref = """{"status": "ok", "message": {"items": [{"title": ["Pebbles"], "subtitle": ["A Survey"],
      "DOI": "10.5555/A",
      "container-title": ["Journal of Stones"], "author": [{"given": "Ada", "family": "Quenby", "sequence": "first"},
      {"name": "The BELLOW Collaboration"}], "published-print": {"date-parts": [[2019, 2]]}}]}}"""
    assert read(crossref).entries == (
        Entry(
            "doi:10.5555/a",
            "Pebbles: A Survey",
            (Author("Quenby", "Ada"), Author("The BELLOW Collaboration")),
            2019,
            "Journal of Stones",
        ),
    )
    better = """{"config": {}, "items": [{"itemType": "preprint", "title": "Kites", "citationKey": "quenbyKites",
      "date": "2024-01-15",
      "creators": [{"firstName": "Ada", "lastName": "Quenby", "creatorType": "author"}], "archiveID": "arXiv:2301.00001",
      "tags": [{"tag": "wind"}]}, {"itemType": "attachment", "title": "a.pdf"}]}"""
    found = read(better)
    assert found.entries == (Entry("arxiv:2301.00001", "Kites", (Author("Quenby", "Ada"),), 2024, tags=("wind",)),)
    assert found.keys == (("arxiv:2301.00001", "quenbyKites"),)


def test_our_own_csv_comes_back(library: tuple[Library, Choices]) -> None:
    fields = "author={Vale, Jr., Anton and Quist, B.}, year=2020, doi={10.5555/a}, keywords={sky, wind}"
    text = f"@misc{{k1, title={{+1 for Kites}}, {fields}}}"
    add_to_list(read(text), "a", *library, None)
    written = WRITERS["csv"]("a", references_of(library[0].read_list("a"), None, library[1]))
    found = read(written)
    assert found.entries == read(text).entries
    assert found.keys == (("doi:10.5555/a", "k1"),)


# Identifiers as pasted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2301.00001.", "(2301.00001)", "[2301.00001]", "arXiv 2301.00001", "arXiv.2301.00001", "arXiv:2301.00001 [cs.RO]",
        "arXiv:2301.00001v1 [cs.RO] 15 Jan 2024", "<https://arxiv.org/abs/2301.00001>", "arXiv preprint arXiv:2301.00001",
        "https://arxiv.org/abs//2301.00001", "https%3A%2F%2Farxiv.org%2Fabs%2F2301.00001", "2301.\u200b00001",
        "(https://arxiv.org/pdf/2301.00001v2.pdf).", "http://cn.arxiv.org/abs/2301.00001", "https://browse.arxiv.org/pdf/2301.00001v1",
        "http://xxx.lanl.gov/abs/2301.00001", "https://www.semanticscholar.org/arxiv/2301.00001", "arxiv.org/abs/2301.00001v1)",
    ],
)  # fmt: skip
def test_identifiers_as_people_paste_them(text: str) -> None:
    assert paper_id(text) == "arxiv:2301.00001"


@pytest.mark.parametrize("text", ["see 2301.00001", "transformers", "2301.00001 and 2301.00002", "arXiv", "[cs.RO]", "()", "<>"])
def test_other_texts_are_no_identifier(text: str) -> None:
    with pytest.raises(IdentifierError):
        paper_id(text)


@pytest.mark.parametrize(
    ("asked", "name", "found"),
    [
        ("LeCun, Yann", "yann lecun", True),
        ("Y. LeCun", "yann lecun", True),
        ("Y LeCun", "yann a. lecun", True),
        ("LeCun, Y.", "yann lecun", True),
        ("Z. LeCun", "yann lecun", False),
        ("O’Brien", "tim o'brien", True),
        ("Brüm", "jorg brum", True),
        ("lecu", "yann lecun", True),
        ("Y. Lec", "mary yann", False),
    ],
)
def test_author_filters(asked: str, name: str, found: bool) -> None:
    assert (re.search(author_pattern(asked), name) is not None) == found


def test_categories_and_years_written_otherwise() -> None:
    assert parse_categories(["cs.ro", "CS.RO,cs.CV", "Cond-Mat.Str-El", "math"]) == [
        "cs.RO",
        "cs.RO",
        "cs.CV",
        "cond-mat.str-el",
        "math",
    ]
    assert parse_years("2020..2024") == (2020, 2024)
    with pytest.raises(QueryError, match="the wrong way round: the earlier year comes first"):
        parse_years("2024..2020")


def test_of_two_dois_the_first_is_the_papers() -> None:
    paper = Paper("arxiv:2301.00001", "Two Journals, One Paper", doi="10.5555/odd_one.1 10.5555/odd_two.2")
    assert make_reference(Entry.of(paper), paper, ()).doi == "10.5555/odd_one.1"
