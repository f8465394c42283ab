"""What the readers have found in one document so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest.notes.addresses import Address, address, repository_of
from ingest.notes.inline import Link
from ingest.notes.titles import Title
from kb.errors import IdentifierError
from kb.identifiers import title_id
from kb.papers import Mention, Note, Skipped, TitleSource


def resolve(link: Link) -> Address | None:
    """What a link points to; `None` where that is no web address."""
    try:
        return address(link.href)
    except IdentifierError:
        return None


@dataclass(slots=True)
class Findings:
    """Notes, mentions and problems, and the lines (0-based) that a reader has already taken."""

    source: str
    notes: list[Note] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)
    no_paper: str = ""
    """Why the document holds no note on a paper, where it holds none: nothing wrong with it."""

    def skip(self, line: int, reason: str) -> None:
        """Reports what could not be read, once a line and reason."""
        entry = Skipped(self.source, line, reason)
        if entry not in self.skipped[-20:]:
            self.skipped.append(entry)

    def address(self, link: Link) -> Address | None:
        """What a link points to; what is wrong with it is reported."""
        try:
            found = address(link.href)
        except IdentifierError as error:
            self.skip(link.line, str(error))
            return None
        if found is not None and found.problem:
            self.skip(link.line, found.problem)
        return found

    def mentions_of(self, links: Iterable[Link], own: str = "", remark: str = "") -> tuple[Mention, ...]:
        """The mentions that links make, the paper's own link left out."""
        found: list[Mention] = []
        for link in links:
            where = self.address(link)
            if where is not None and where.paper_id != own:
                found.append(Mention(where.kind, where.target, link.text, link.line, remark=remark))
        return tuple(found)

    def note(
        self,
        line: int,
        title: Title,
        link: Link | None,
        *,
        body: str = "",
        section: str = "",
        year: int | None = None,
        authors: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        links: Iterable[Link] = (),
        source: TitleSource = "item",
    ) -> Note:
        """Add the note on a paper; without a usable link it is known by its title."""
        where = self.address(link) if link is not None else None
        identifier = where.paper_id if where else title_id(title.text)
        mentions = self.mentions_of((other for other in links if other != link), identifier)
        if where and link and (repository := repository_of(where.url)):
            mentions = (Mention("repository", repository, link.text, link.line), *mentions)
        note = Note(
            source=self.source,
            line=line,
            paper_id=identifier,
            title=title.text,
            body=body,
            authors=authors or title.authors,
            venue=title.venue,
            year=year or title.year,
            url=where.url if where else "",
            section=section,
            tags=tuple(dict.fromkeys((*title.tags, *tags))),
            mentions=mentions,
            title_source=source if title.text else "",
        )
        self.notes.append(note)
        return note
