"""The lexical index: BM25 over title, text, authors, notes and names, by tantivy; and the card of each paper, to be shown.

A folder of immutable segment files, so that a new generation links those of the one before and adds what is new.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import tantivy

from kb.encode.encoder import Vectors
from kb.encode.vector_store import ENTRY, Digests, differences, entries
from kb.errors import StoreError
from kb.papers import Card
from kb.store import Keys, SearchText
from kb.text.tokenize import code_names, fold, name_analyzer, plain, short_name, word_analyzer, words

LEXICAL_FOLDER = "lexical"
_DOCUMENTS = "documents-2.npy"  # the number is that of fields, analysis and cards: another one builds the index anew
_WITHOUT_CARDS = "documents-1.npy"  # that of an earlier version, which is searched until a job builds it anew
_HEAP = 128_000_000  # bytes that the writer may use before it writes a segment
#: Weight of each field's BM25 in the score. That of titles was chosen on SciFact's training claims; no judgements at hand
#: tell of notes, names and authors, which half a word's weight brings up without drowning the texts.
_BOOSTS = {"text": 1.0, "title": 0.3, "notes": 0.5, "names": 0.5, "families": 0.5}
_TERMS = 32  # most telling terms of a query that are searched: an abstract as query costs no more than a paragraph
_PACK, _UNPACK = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Card)
_DEEPEST = 20_000  # results fetched to pick allowed ones from, before the allowed keys themselves become a clause


@dataclass(frozen=True, slots=True)
class Named:
    """Keys of papers that a query names rather than describes, of each kind those first that say the name most."""

    title: tuple[int, ...] = ()
    """The title is what the query says, without regard to case, accents and punctuation."""
    short_name: tuple[int, ...] = ()
    """The title gives its subject the name that the query is: `LoRA` → `LoRA: Low-Rank Adaptation of …`."""
    exact: tuple[int, ...] = ()
    """The text has all the code names that make up the query, as they are written."""
    folded: tuple[int, ...] = ()
    """The same without regard to case and hyphens."""
    author: tuple[int, ...] = ()
    """An author is called what the query says."""


class LexicalIndex:
    """Papers by the words in them. Safe to share between threads."""

    def __init__(self, index: tantivy.Index) -> None:
        self._schema = index.schema
        self._searcher = index.searcher()
        self._count = int(self._searcher.num_docs)

    @classmethod
    def read(cls, folder: Path) -> LexicalIndex:
        """Raises StoreError where the folder is no index."""
        try:
            if not (folder / _DOCUMENTS).is_file() and not (folder / _WITHOUT_CARDS).is_file():
                raise FileNotFoundError(f"no {_DOCUMENTS}")
            if os.access(folder, os.W_OK):
                return cls(_opened(folder))
            # To open one, tantivy makes a lock file beside the index. All files are open once there is a searcher.
            with TemporaryDirectory(prefix="kb-lexical-") as links:
                for path in folder.resolve().iterdir():
                    if path.suffix != ".lock":
                        (Path(links) / path.name).symlink_to(path)
                return cls(_opened(Path(links)))
        except (ValueError, OSError) as error:
            raise StoreError(f"{folder} is no readable index ({error}). Run `kb index`: it is built again.") from error

    @staticmethod
    def update(folder: Path, keys: Keys, digests: Digests, texts: Callable[[Keys], Iterable[SearchText]]) -> None:
        """Makes the folder's index hold exactly these papers: keys and digests of words and cards, both of shape (n,).

        Only what is new or differs is read, by `texts`, and written. Files that are there are never written to.
        Raises StoreError where the index that is there cannot be read, or the disk is full.
        """
        try:
            _update(folder, keys, digests, texts)
        except ValueError as error:  # what tantivy raises for all that goes wrong
            raise StoreError(
                f"{folder} cannot be written ({error}). Make room, and run `kb index` again; if there is room, run "
                "`kb doctor --repair`, which builds the index anew."
            ) from error

    @staticmethod
    def listed(folder: Path) -> tuple[Keys, Digests]:
        """Keys and digests of what the index was last made to hold, both of shape (n,).

        Raises StoreError for one of an earlier version, whose digests are of other things.
        """
        if not (folder / _DOCUMENTS).is_file():
            raise StoreError(f"{folder} is an index of an earlier version. Run `kb index`: it is built again.")
        entries = np.load(folder / _DOCUMENTS)
        return entries["key"], entries["digest"]

    def __len__(self) -> int:
        return self._count

    def search(self, text: str, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """The k papers of the highest BM25, best first: keys and scores, both of shape (at most k,).

        Only papers that have one of the words come back. `allowed` restricts the search to these keys, so that k
        come back whenever k exist.
        """
        query = self._query(text)
        if query is None or k < 1 or (allowed is not None and not len(allowed)):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        if allowed is None:
            return self._top(query, k)
        # Many allowed: the best of all, deeper and deeper, hold k of them soon. Few: they make a clause of their own.
        depth = 2 * k * max(1, self._count // len(allowed))
        while depth <= _DEEPEST:
            keys, scores = self._top(query, depth)
            kept = np.isin(keys, allowed)
            if kept.sum() >= k or len(keys) < depth:
                return keys[kept][:k], scores[kept][:k]
            depth *= 4
        return self._top(self._restricted(query, allowed), k)

    def scores(self, text: str, keys: Keys) -> Vectors:
        """BM25 of the query for these papers, shape (n,); 0 where a paper has none of the words."""
        out = np.zeros(len(keys), dtype=np.float32)
        query = self._query(text)
        if query is None or not len(keys):
            return out
        found, scores = self._top(self._restricted(query, keys), len(keys))
        order = np.argsort(keys)
        out[order[np.searchsorted(keys[order], found)]] = scores
        return out

    def cards(self, keys: Sequence[int]) -> dict[int, Card]:
        """The cards of these papers, by key; one that is not here is left out, as all are in an earlier version's index.

        They are published with the catalogue and say what it says; to read them takes a twentieth of the time. Raises StoreError
        where one is damaged.
        """
        if not keys:
            return {}
        hits = self._searcher.search(self._any_of(keys), len(keys), count=False).hits
        addresses = [address for _, address in hits]
        found = np.asarray(self._searcher.fast_field_values("key", addresses), dtype=np.int64).tolist()
        documents = zip(found, map(self._searcher.doc, addresses), strict=True)
        try:
            return {key: _UNPACK.decode(card) for key, document in documents for card in document.get_all("card")}
        except ValueError as error:
            raise StoreError(
                f"A paper's card is damaged ({error}). Run `kb doctor --repair`: the index is built again."
            ) from error

    def named(self, text: str) -> Named:
        """What the query names, where all of it is a name."""
        normal = plain(text)
        names = code_names(normal)
        people = [word for word in name_analyzer().analyze(normal) if len(word) > 1]
        whole = fold(normal)
        if not whole:
            return Named()
        title = self._all("whole_title", [whole])
        if len(normal.split()) > _LONGEST_NAME:
            return Named(title)
        exact: tuple[int, ...] = ()
        folded: tuple[int, ...] = ()
        if names and len(names) == len(normal.split()):
            exact = self._all("names", names)
            folded = self._all("names", [_FOLDED + fold(name) for name in names])
        elif self._is_one_name(normal, _FOLDED + whole):
            folded = self._all("names", [_FOLDED + whole])
        author: tuple[int, ...] = ()
        if len(people) == 1 and self._is_family(people[0]):
            author = self._all("families", people)
        elif len(people) > 1:  # in reading order, or the family name first
            author = (*self._phrase(people), *self._phrase([*people[1:], people[0]]))
        return Named(title, self._all("short_name", [whole]), exact, folded, author)

    def weights(self, text: str) -> dict[str, float]:
        """The terms of a text with their inverse document frequency, ln(1 + (N − n + 0.5) / (n + 0.5)) as in BM25."""
        frequency = {term: self._frequency("text", term) for term in self._terms(text)}
        return {term: log1p((self._count - n + 0.5) / (n + 0.5)) for term, n in frequency.items() if n <= self._count}

    # Queries ---------------------------------------------------------------------------------------------------------

    def _terms(self, text: str) -> list[str]:
        """The query's terms, each once; of a long one the rarest, which tell the most."""
        terms = list(dict.fromkeys(words(text)))
        if len(terms) <= _TERMS:
            return terms
        frequency = {term: self._frequency("text", term) for term in terms}
        return sorted((t for t in terms if frequency[t]), key=lambda t: frequency[t])[:_TERMS]

    def _query(self, text: str) -> tantivy.Query | None:
        terms, normal = self._terms(text), plain(text)
        asked = {
            "text": terms,
            "title": terms,
            "notes": terms,
            "names": [written for name in code_names(normal) for written in (name, _FOLDED + fold(name))],
            "families": [word for word in name_analyzer().analyze(normal) if self._is_family(word)],
        }
        # One flat disjunction: of that tantivy leaves out what cannot come among the best, of nested ones it scores everything.
        found = [
            (tantivy.Occur.Should, tantivy.Query.boost_query(self._term(field, term), _BOOSTS[field]))
            for field, words in asked.items()
            for term in words
        ]
        return tantivy.Query.boolean_query(found) if found else None

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term, "basic" if field in {"whole_title", "short_name"} else "freq")

    def _restricted(self, query: tantivy.Query, keys: Keys) -> tantivy.Query:
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, self._any_of(keys.tolist())), (tantivy.Occur.Must, query)])

    def _any_of(self, keys: Sequence[int]) -> tantivy.Query:
        """The papers with these keys, each with a score of 0."""
        # Terms one by one: a set of terms is looked for all along the dictionary, which takes twice as long.
        each = [(tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic")) for key in keys]
        return tantivy.Query.const_score_query(tantivy.Query.boolean_query(each), 0.0)

    def _top(self, query: tantivy.Query, k: int) -> tuple[Keys, Vectors]:
        hits = self._searcher.search(query, min(k, max(self._count, 1)), count=False).hits
        keys = self._searcher.fast_field_values("key", [address for _, address in hits])
        return np.asarray(keys, dtype=np.int64), np.asarray([score for score, _ in hits], dtype=np.float32)

    def _all(self, field: str, terms: Sequence[str]) -> tuple[int, ...]:
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term(field, term)) for term in terms])
        return tuple(self._top(query, _NAMED)[0].tolist())

    def _phrase(self, words: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._top(tantivy.Query.phrase_query(self._schema, "authors", list(words)), _NAMED)[0].tolist())

    def _frequency(self, field: str, term: str) -> int:
        return int(self._searcher.doc_freq(field, term))

    def _text_frequency(self, text: str) -> int:
        """Papers with the rarest of the words in their text."""
        return min((self._frequency("text", term) for term in words(text)), default=0)

    def _is_one_name(self, text: str, folded: str) -> bool:
        """Whether of the papers that have all these words a third or more write them as one name."""
        named = self._frequency("names", folded)
        if not named:
            return False
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term("text", term)) for term in words(text)])
        return len(self._top(query, 3 * named + 1)[0]) <= 3 * named

    def _is_family(self, word: str) -> bool:
        """Whether a word is rather a name of authors than a word of texts."""
        authors = self._frequency("families", word)
        return bool(authors) and authors >= self._text_frequency(word)


_LONGEST_NAME = 5  # words
_NAMED = 1000  # papers of one name that are put first, at most
_FOLDED = "~"  # marks folded names among the written ones


def _update(folder: Path, keys: Keys, digests: Digests, texts: Callable[[Keys], Iterable[SearchText]]) -> None:
    wanted = entries(keys, digests)
    path = folder / _DOCUMENTS
    present = np.load(path) if path.is_file() else np.empty(0, dtype=ENTRY)
    gone, come = differences(present, wanted)
    stale, missing = present[gone], wanted[come]
    if not len(stale) and not len(missing) and path.is_file():
        return
    index = _opened(folder) if path.is_file() else _created(folder)
    writer = index.writer(_HEAP, 2)
    if len(stale):
        writer.delete_documents_by_query(tantivy.Query.term_set_query(index.schema, "key", stale["key"].tolist()))
    for text in texts(missing["key"]):
        writer.add_document(tantivy.Document.from_dict(_fields(text), index.schema))
    writer.commit()
    writer.wait_merging_threads()
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, wanted)
    temporary.replace(path)
    for lock in folder.glob(".tantivy-*.lock"):
        lock.unlink()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("key", indexed=True, fast=True)
    for field in ("title", "text", "notes"):
        builder.add_text_field(field, tokenizer_name="words", index_option="freq")
    builder.add_text_field("authors", tokenizer_name="people", index_option="position")
    builder.add_text_field("families", tokenizer_name="people", index_option="freq")
    builder.add_text_field("names", tokenizer_name="blanks", index_option="freq")
    for field in ("whole_title", "short_name"):
        builder.add_text_field(field, tokenizer_name="blanks", index_option="basic")
    builder.add_bytes_field("card", stored=True)
    return builder.build()


def _with_tokenizers(index: tantivy.Index) -> tantivy.Index:
    index.register_tokenizer("words", word_analyzer())
    index.register_tokenizer("people", name_analyzer())
    index.register_tokenizer("blanks", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    return index


def _created(folder: Path) -> tantivy.Index:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return _with_tokenizers(tantivy.Index(_schema(), path=str(folder)))


def _opened(folder: Path) -> tantivy.Index:
    return _with_tokenizers(tantivy.Index.open(str(folder)))


def _fields(text: SearchText) -> dict[str, object]:
    """A paper as a document of the index."""
    paper = text.card.paper
    title, abstract = plain(paper.title), plain(paper.abstract)
    notes = plain(text.notes)
    repositories = [form for name in map(plain, text.repositories) for form in (name, name.rpartition("/")[2])]
    names = [*code_names(f"{title} {abstract} {notes}"), *repositories]
    return {
        "key": text.key,
        "title": title,
        "text": f"{title} {abstract or notes}",
        "notes": notes,
        "authors": [author.name for author in paper.authors],
        "families": [author.family for author in paper.authors],
        "names": " ".join(form for name in names for form in (name, _FOLDED + fold(name))),
        "whole_title": fold(title),
        "short_name": short_name(paper.title),
        "card": _PACK.encode(text.card),
    }
