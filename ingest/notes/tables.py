"""Tables with one paper a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.notes.addresses import is_paper
from ingest.notes.findings import Findings
from ingest.notes.inline import Link, scan
from ingest.notes.labels import field_of, is_label
from ingest.notes.page import Page, Region
from ingest.notes.titles import Title, clean_title, is_titular, split_people, split_tags, venue_and_year
from kb.papers import TitleSource

_DELIMITER = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_NUMBER = re.compile(r"\s*(?:#?\d{1,4}\s*[.):]|#\d{1,4}\b)\s*")
_BOLD = re.compile(r"\s*(\*\*|__)(?P<title>.+?)\1")
_YEAR = re.compile(r"(?:19|20)\d{2}")
# The words with which a description goes on where nothing sets it apart from the title before it.
_OPENER = re.compile(
    r"\s(?=(?:Introduces|Proposes|Presents|Investigates|Explores|Shows|Studies|Describes|Develops|Demonstrates|Surveys"
    r"|Provides|Evaluates|(?:This|The) (?:paper|work|study|survey|report)|We (?:propose|introduce|present|show|study))\b)"
)
_LONGEST_TITLE = 200
_TITLE_COLUMN = re.compile(
    r"(?:paper |article )?titles?|papers?(?: ?/ ?(?:source|link|title))?|articles?|publications?|names?|paper names?|works?"
    r"|references?"
    r"|论文|文章|名字|名称|論文|논문|статья|работа|artikel|article|artículo",
    re.IGNORECASE,
)
#: Headers that promise papers, even where a row has no link.
_OF_PAPERS = re.compile(
    r"papers?(?: ?/ ?(?:source|link|title))?|(?:paper )?titles?|paper names?|articles?|publications?|preprints?"
    r"|论文|论文标题|标题|论文题目|論文|論文名|論文タイトル|タイトル|논문|논문 제목|제목|статья|название",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table: its header cells and its rows, each with its 0-based line; the first is on line `start`."""

    start: int
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, name: str) -> int | None:
        """The position of a column by its meaning."""
        return next((i for i, cell in enumerate(self.header) if _is_column(name, _bare_words(cell))), None)

    @property
    def is_of_papers(self) -> bool:
        return any(_OF_PAPERS.fullmatch(_bare_words(cell)) for cell in self.header)


def _is_column(name: str, words: str) -> bool:
    if name == "title":
        return field_of(words) == "title" or _TITLE_COLUMN.fullmatch(words) is not None
    return field_of(words) == name


def is_table(text: str) -> bool:
    """Whether a paragraph holds a table: a line below its first says so."""
    return any(_is_delimiter(line) for line in text.split("\n")[1:])


def labelled_rows(lines: list[str]) -> list[tuple[int, str, str]]:
    """The rows of a table of two columns that describes one paper, each with its line, label and value; else none.

    `| **Title** | Sparse Attention |`, with a header of any words or of the first label and value.
    """
    delimiter = next((i for i, line in enumerate(lines) if _is_delimiter(line)), None)
    if delimiter is None or delimiter == 0:
        return []
    rows = [
        (i, _split(line, protect=True)) for i, line in enumerate(lines) if i != delimiter and i >= delimiter - 1 and "|" in line
    ]
    if len(rows) < 3 or any(len([c for c in cells if c.strip()]) > 2 for _, cells in rows):
        return []
    found = [(i, _plain(cells[0]).strip(" *_:："), cells[1].strip()) for i, cells in rows if len(cells) >= 2]
    labelled = [(i, label, value) for i, label, value in found if field_of(label) is not None and value]
    body = [row for row in labelled if row[0] > delimiter]
    return labelled if len(body) >= 2 and 2 * len(body) >= len(rows) - 1 and len({label for _, label, _ in body}) > 1 else []


def _is_delimiter(line: str) -> bool:
    return "-" in line and "|" in line and _DELIMITER.fullmatch(line.strip()) is not None


def holds_paper_table(page: Page, region: Region) -> bool:
    """Whether a table with a paper in a row stands in a region."""
    return any(_is_of_papers(page, table) for table in _tables(page, region, frozenset()))


def read_tables(page: Page, region: Region, findings: Findings) -> None:
    """Add a note for every row of the tables of papers in a region."""
    for table in _tables(page, region, findings.taken):
        if not _is_of_papers(page, table):
            continue
        findings.taken.update(range(table.start, table.start + 2))
        if any(is_paper(link.href) for cell in table.header for link in _links(_cell(cell, table.start, page))):
            # A table without a header: its first row stands in its place.
            _read_row(page, table, table.start, table.header, region.section, findings)
        for line, cells in table.rows:
            findings.taken.add(line)
            _read_row(page, table, line, cells, region.section, findings)


def _is_of_papers(page: Page, table: _Table) -> bool:
    if labelled_rows([page.visible[table.start], "|---|---|", *(page.visible[line] for line, _ in table.rows)]):
        return False
    if table.is_of_papers:
        return True
    links = (k for line, cells in table.rows for cell in cells for k in _links(_cell(cell, line, page)))
    return any(is_paper(link.href) for link in links)


def _tables(page: Page, region: Region, taken: frozenset[int] | set[int]) -> Iterator[_Table]:
    """Every table, found by its `| --- | --- |`; a row is a line with a `|` below it."""
    index = region.start + 1
    while index < region.end:
        line = page.visible[index]
        header = page.visible[index - 1]
        if not _is_delimiter(line) or "|" not in header or index in page.fenced or index in taken:
            index += 1
            continue
        columns = len(_split(line))
        names = tuple(_split(header))
        rows: list[tuple[int, tuple[str, ...]]] = []
        begin = index - 1
        index += 1
        while index < region.end and "|" in page.visible[index]:
            rows.append((index, tuple(_cells(page.visible[index], columns, _title_position(names)))))
            index += 1
        yield _Table(begin, names, tuple(rows))


def _title_position(names: tuple[str, ...]) -> int:
    return next((i for i, name in enumerate(names) if _is_column("title", _bare_words(name))), 0)


def _cells(row: str, columns: int, widest: int) -> list[str]:
    """The cells of a row.

    A `|` in code or a formula parts no cells, unless too few are left then; what is too many after that is put back together
    where the longest text is expected.
    """
    cells = _split(row, protect=True)
    if len(cells) < columns:
        cells = _split(row)
    surplus = len(cells) - columns
    if surplus > 0 and widest < columns:
        cells[widest : widest + surplus + 1] = [" | ".join(cells[widest : widest + surplus + 1])]
    return cells + [""] * (columns - len(cells))


# Code, a formula without blanks at its ends, an escaped character: what a cell border is not looked for in.
_PROTECTED = re.compile(r"\\.|`[^`]{1,500}`|\$\$[^$]{1,500}\$\$|\$(?=\S)[^$]{1,500}(?<=\S)\$(?!\d)|\|")


def _split(row: str, protect: bool = False) -> list[str]:
    row = row.strip().removeprefix("|")
    cells: list[str] = []
    position = start = 0
    while position < len(row):
        match = _PROTECTED.search(row, position)
        if match is None:
            break
        if match[0] == "|":
            cells.append(row[start : match.start()].strip())
            start = match.end()
        is_whole = protect or match[0] == "|" or match[0].startswith("\\")
        position = match.end() if is_whole else match.start() + 1
    last = row[start:].strip()
    return [*cells, last] if last or not cells else cells


def _bare_words(cell: str) -> str:
    return clean_title(cell).strip(" *_:")


def _cell(cell: str, line: int, page: Page) -> list[str | Link]:
    return scan(cell, line + 1, page.references).pieces()


def _links(found: list[str | Link]) -> list[Link]:
    return [piece for piece in found if isinstance(piece, Link)]


def _read_row(page: Page, table: _Table, line: int, cells: tuple[str, ...], section: str, findings: Findings) -> None:
    found = [_cell(cell, line, page) for cell in cells]
    column = _title_column(table, found)
    title, body, linked = _title_and_body(cells[column], found[column]) if column is not None else ("", "", None)
    if not is_titular(title) and not linked:
        title = ""
    links = [link for cell in found for link in _links(cell)]
    paper = linked if linked and is_paper(linked.href) else _paper_link(found, column)
    if paper is None and linked is None and not title:
        findings.skip(line + 1, "the table row has neither a title nor a link to a paper")
        findings.mentions.extend(findings.mentions_of(links))
        return
    source: TitleSource = "link" if linked is not None else "item"
    paper = paper or linked or _page_link(found, column)
    year, authors, venue = (_text(found, table.column(name), column) for name in ("year", "authors", "venue"))
    used = {column, table.column("year"), table.column("authors"), table.column("venue")}
    rest = [cell for i, cell in enumerate(cells) if i not in used and not _is_of_links(found[i])]
    if not venue and not year:
        for i, cell in enumerate(found):
            if i != column and not (venue and year) and not any(isinstance(p, Link) for p in cell):
                known, when = venue_and_year("".join(p.text if isinstance(p, Link) else p for p in cell).strip(" *_`()[]"))
                venue, year = venue or known, year or str(when or "")
    year_match = _YEAR.search(year) or _YEAR.search(venue)
    tags_column = table.column("tags")
    tags = split_tags(_text(found, tags_column, column)) if tags_column is not None else []
    findings.note(
        line + 1,
        Title(clean_title(title), venue=clean_title(venue)),
        paper,
        body="\n\n".join(filter(None, [body, *map(_body, rest)])),
        section=section,
        year=int(year_match[0]) if year_match else None,
        authors=split_people(clean_title(authors)) if len(authors) < 2000 else (),
        tags=tuple(tags),
        links=links,
        source=source,
    )


def _text(found: list[list[str | Link]], column: int | None, title_column: int | None) -> str:
    if column is None or column == title_column or column >= len(found):
        return ""
    return "".join(p.text if isinstance(p, Link) else p for p in found[column]).strip()


def _title_column(table: _Table, found: list[list[str | Link]]) -> int | None:
    """The column of the title: the one so named, where it has words; otherwise the first that has."""
    named = table.column("title")
    others = {table.column("year"), table.column("authors"), table.column("venue")}
    order = [*([named] if named is not None else []), *(i for i in range(len(found)) if i not in others)]
    return next((i for i in order if i < len(found) and not _is_of_links(found[i])), None)


def _is_of_links(found: list[str | Link]) -> bool:
    """Whether a cell holds nothing but numbers, signs and links such as `[Paper](…)`."""
    return all(is_label(p) if isinstance(p, str) else p.is_labelled or p.is_bare for p in found)


def _paper_link(found: list[list[str | Link]], title_column: int | None) -> Link | None:
    """The link that calls itself the paper, else the first that leads to one outside of the description."""
    links = [(i, link) for i, cell in enumerate(found) for link in _links(cell)]
    for _, link in links:
        if field_of(link.text) == "paper" and _is_web(link):
            return link
    outside = [link for i, link in links if i != title_column]
    return next((link for link in [*outside, *(link for _, link in links)] if is_paper(link.href)), None)


def _page_link(found: list[list[str | Link]], title_column: int | None) -> Link | None:
    """Lacking a paper, the first page that is not somebody's talk about it."""
    outside = [link for i, cell in enumerate(found) if i != title_column for link in _links(cell)]
    inside = [link for link in _links(found[title_column]) if link.is_labelled] if title_column is not None else []
    return next((link for link in [*outside, *inside] if _is_web(link) and not _is_post(link)), None)


def _is_web(link: Link) -> bool:
    return link.href.startswith(("http://", "https://", "//"))


def _is_post(link: Link) -> bool:
    host = link.href.partition("//")[2].partition("/")[0].lower().removeprefix("www.").removeprefix("mobile.")
    return link.text.strip().lower().startswith("tweet") or host in {"twitter.com", "x.com", "t.co", "threads.net"}


def _without_brackets(title: str) -> str:
    return title[1:-1] if title[:1] + title[-1:] in {"[]", '""'} else title


def _title_and_body(cell: str, found: list[str | Link]) -> tuple[str, str, Link | None]:
    """The title in a cell, the Markdown behind it, and the link on the title if it has one."""
    number = _NUMBER.match(cell)
    text = (cell[number.end() :] if number else cell).lstrip()
    first = next((p for p in found if isinstance(p, Link) or not is_label(p)), None)
    if isinstance(first, Link) and not (first.is_labelled or first.is_bare):
        offset = len(cell) - len(text)
        return _without_brackets(first.text), _body(text[first.end - offset :].lstrip("*_")), first
    bold = _BOLD.match(text)
    if bold:
        return _plain(bold["title"]), _body(text[bold.end() :]), None
    if len(words := _plain(text)) <= _LONGEST_TITLE and "  " not in text and not _DASH.search(text):
        return words, "", None
    cut = _cut(text)
    return ("", _body(text), None) if cut is None else (_plain(text[: cut[0]]), _body(text[cut[1] :]), None)


_DASH = re.compile(r" [-–—] ")
_BLANKS = re.compile(r"(?<=\S)  ")


def _cut(text: str) -> tuple[int, int] | None:
    """Where the title ends and where the description begins: at two blanks, a dash, or the words of an opener."""
    dash = _DASH.search(text, 0, _LONGEST_TITLE)
    blanks = _BLANKS.search(text, 0, _LONGEST_TITLE)
    opener = _OPENER.search(text, 0, _LONGEST_TITLE)
    goes_on = dash if dash and text[dash.end() : dash.end() + 1].islower() else None  # a dash in a title has a capital
    spans = [match.span() for match in (goes_on, blanks, opener) if match]
    if spans or dash:
        return min(spans) if spans else dash.span() if dash else None
    sentence = text.find(". ", 1, _LONGEST_TITLE)
    return (sentence, sentence + 2) if sentence > 0 else None


def _plain(text: str) -> str:
    return scan(text, 1, {}).words()


_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def _body(text: str) -> str:
    """The Markdown of a cell: its breaks as lines, its `●` as items of a list."""
    lines = [line.strip() for line in _BREAK.split(text.replace("\\|", "|"))]
    lines = [re.sub(r"^[•●▪]\s*", "- ", line) for line in lines if line]
    if lines:
        lines[0] = lines[0].lstrip(" -–—:") if not lines[0].startswith("- ") or text.lstrip()[:1] in "-–—" else lines[0]
    return "\n".join(filter(None, lines))
