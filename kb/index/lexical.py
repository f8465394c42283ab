"""BM25 index in tantivy over title, text, authors, notes and names; it also stores the card that a hit shows of each paper.

A folder of immutable segment files: a new generation hard-links those of the one before and adds its own.
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
from kb.files import replacing
from kb.papers import Card
from kb.store import IndexDocument, Keys
from kb.text.tokenize import fold, index_terms, name_analyzer, normalize_text, short_name, technical_names, word_analyzer

LEXICAL_FOLDER = "lexical"
_DOCUMENTS_FILE = "documents-2.npy"  # the version of fields, analysis and cards; an index of another version is rebuilt
_DOCUMENTS_FILE_V1 = "documents-1.npy"  # version 1 has no cards; it is searched until a job rebuilds it
_WRITER_HEAP_BYTES = 128_000_000  # the writer's buffer; a segment is written when it is full
#: Weight of each field's BM25 in the score. The title's was tuned on SciFact's training claims; for notes, names and authors
#: there are no judgements, and half the weight of the text lets them count without dominating it.
_FIELD_BOOSTS = {"text": 1.0, "title": 0.3, "notes": 0.5, "names": 0.5, "families": 0.5}
_MAX_QUERY_TERMS = 32  # the rarest ones of a query: an abstract as query takes no longer than a paragraph
_CARD_ENCODER, _CARD_DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Card)
_MAX_DEPTH = 20_000  # results to filter by the allowed keys; beyond that the keys become a clause of the query


@dataclass(frozen=True, slots=True)
class NameMatches:
    """Keys of papers that a query names rather than describes, by kind of name; each in descending order of BM25."""

    title: tuple[int, ...] = ()
    """Title equal to the query, ignoring case, accents and punctuation."""
    short_name: tuple[int, ...] = ()
    """The query is the title's part before the colon: `LoRA` → `LoRA: Low-Rank Adaptation of …`."""
    exact: tuple[int, ...] = ()
    """The text has every technical name of the query, spelled the same."""
    folded: tuple[int, ...] = ()
    """The same, ignoring case and hyphens."""
    author: tuple[int, ...] = ()
    """The query is the name of an author."""


class LexicalIndex:
    """BM25 search over papers. Safe to share between threads."""

    def __init__(self, index: tantivy.Index) -> None:
        self._schema = index.schema
        self._searcher = index.searcher()
        self._count = int(self._searcher.num_docs)

    @classmethod
    def read(cls, folder: Path) -> LexicalIndex:
        """Open the index in a folder. Raises StoreError if the folder is not a readable index."""
        try:
            if not (folder / _DOCUMENTS_FILE).is_file() and not (folder / _DOCUMENTS_FILE_V1).is_file():
                raise FileNotFoundError(f"no {_DOCUMENTS_FILE}")
            if os.access(folder, os.W_OK):
                return cls(_open_index(folder))
            # tantivy creates a lock file beside the index when it opens it. All files are open once there is a searcher.
            with TemporaryDirectory(prefix="kb-lexical-") as links:
                for path in folder.resolve().iterdir():
                    if path.suffix != ".lock":
                        (Path(links) / path.name).symlink_to(path)
                return cls(_open_index(Path(links)))
        except (ValueError, OSError) as error:
            raise StoreError(f"{folder} is not a readable index ({error}). Run `kb index`: it is built again.") from error

    @staticmethod
    def update(folder: Path, keys: Keys, digests: Digests, texts: Callable[[Keys], Iterable[IndexDocument]]) -> None:
        """Make the index in a folder hold exactly these papers: keys and digests of their words and cards, both of shape (n,).

        `texts` is asked only for papers that are new or differ. Existing files are never written to.
        Raises StoreError if the existing index cannot be read or the disk is full.
        """
        try:
            _update(folder, keys, digests, texts)
        except ValueError as error:  # tantivy raises it for every failure
            raise StoreError(
                f"{folder} cannot be written ({error}). Make room, and run `kb index` again; if there is room, run "
                "`kb doctor --repair`, which builds the index anew."
            ) from error

    @staticmethod
    def indexed_documents(folder: Path) -> tuple[Keys, Digests]:
        """Keys and digests of the papers in the index, both of shape (n,), as `update` was given them.

        Raises StoreError if the index is of an earlier version, whose digests cover other fields.
        """
        if not (folder / _DOCUMENTS_FILE).is_file():
            raise StoreError(f"{folder} is an index of an earlier version. Run `kb index`: it is built again.")
        entries = np.load(folder / _DOCUMENTS_FILE)
        return entries["key"], entries["digest"]

    def __len__(self) -> int:
        return self._count

    def search(self, text: str, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return the k papers of the highest BM25, best first: keys and scores, both of shape (at most k,).

        Only papers with at least one of the query's terms are returned. `allowed`, keys of shape (m,), filters inside the search:
        k papers are returned whenever k match.
        """
        query = self._query(text)
        if query is None or k < 1 or (allowed is not None and not len(allowed)):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        if allowed is None:
            return self._top(query, k)
        # Many allowed keys: filter the best of all, going deeper until k are left. Few: add them to the query as a clause.
        depth = 2 * k * max(1, self._count // len(allowed))
        while depth <= _MAX_DEPTH:
            keys, scores = self._top(query, depth)
            kept = np.isin(keys, allowed)
            if kept.sum() >= k or len(keys) < depth:
                return keys[kept][:k], scores[kept][:k]
            depth *= 4
        return self._top(self._restricted_to(query, allowed), k)

    def scores(self, text: str, keys: Keys) -> Vectors:
        """BM25 of the query for papers with keys of shape (n,): scores, shape (n,); 0 if a paper has none of the terms."""
        out = np.zeros(len(keys), dtype=np.float32)
        query = self._query(text)
        if query is None or not len(keys):
            return out
        found, scores = self._top(self._restricted_to(query, keys), len(keys))
        order = np.argsort(keys)
        out[order[np.searchsorted(keys[order], found)]] = scores
        return out

    def cards(self, keys: Sequence[int]) -> dict[int, Card]:
        """Cards of these papers by key, without papers that the index does not hold; an index of version 1 has no cards.

        They equal what the catalogue holds in the same generation and are read 20 times faster. Raises StoreError if a card is
        damaged.
        """
        if not keys:
            return {}
        hits = self._searcher.search(self._any_of(keys), len(keys), count=False).hits
        addresses = [address for _, address in hits]
        found = np.asarray(self._searcher.fast_field_values("key", addresses), dtype=np.int64).tolist()
        documents = zip(found, map(self._searcher.doc, addresses), strict=True)
        try:
            return {key: _CARD_DECODER.decode(card) for key, document in documents for card in document.get_all("card")}
        except ValueError as error:
            raise StoreError(
                f"A paper's card is damaged ({error}). Run `kb doctor --repair`: the index is built again."
            ) from error

    def find_names(self, text: str) -> NameMatches:
        """Find papers that the query names; no kind matches if only a part of the query is a name."""
        normal = normalize_text(text)
        names = technical_names(normal)
        people = [word for word in name_analyzer().analyze(normal) if len(word) > 1]
        whole = fold(normal)
        if not whole:
            return NameMatches()
        title = self._all("whole_title", [whole])
        if len(normal.split()) > _MAX_NAME_WORDS:
            return NameMatches(title)
        exact: tuple[int, ...] = ()
        folded: tuple[int, ...] = ()
        if names and len(names) == len(normal.split()):
            exact = self._all("names", names)
            folded = self._all("names", [_FOLDED_MARK + fold(name) for name in names])
        elif self._is_one_name(normal, _FOLDED_MARK + whole):
            folded = self._all("names", [_FOLDED_MARK + whole])
        author: tuple[int, ...] = ()
        if len(people) == 1 and self._is_family(people[0]):
            author = self._all("families", people)
        elif len(people) > 1:  # in reading order, or the family name first
            author = (*self._phrase(people), *self._phrase([*people[1:], people[0]]))
        return NameMatches(title, self._all("short_name", [whole]), exact, folded, author)

    def term_weights(self, text: str) -> dict[str, float]:
        """The terms of a text with their inverse document frequency as in BM25: ln(1 + (N − n + 0.5) / (n + 0.5)).

        N: papers in the index; n: papers with the term in their text.
        """
        frequency = {term: self._frequency("text", term) for term in self._terms(text)}
        return {term: log1p((self._count - n + 0.5) / (n + 0.5)) for term, n in frequency.items() if n <= self._count}

    # Queries ---------------------------------------------------------------------------------------------------------

    def _terms(self, text: str) -> list[str]:
        """Distinct terms of a query; of a long query the rarest ones."""
        terms = list(dict.fromkeys(index_terms(text)))
        if len(terms) <= _MAX_QUERY_TERMS:
            return terms
        frequency = {term: self._frequency("text", term) for term in terms}
        return sorted((t for t in terms if frequency[t]), key=lambda t: frequency[t])[:_MAX_QUERY_TERMS]

    def _query(self, text: str) -> tantivy.Query | None:
        terms, normal = self._terms(text), normalize_text(text)
        asked = {
            "text": terms,
            "title": terms,
            "notes": terms,
            "names": [written for name in technical_names(normal) for written in (name, _FOLDED_MARK + fold(name))],
            "families": [word for word in name_analyzer().analyze(normal) if self._is_family(word)],
        }
        # A flat disjunction, which tantivy prunes (block-max WAND); in nested ones it scores every match.
        found = [
            (tantivy.Occur.Should, tantivy.Query.boost_query(self._term(field, term), _FIELD_BOOSTS[field]))
            for field, words in asked.items()
            for term in words
        ]
        return tantivy.Query.boolean_query(found) if found else None

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term, "basic" if field in {"whole_title", "short_name"} else "freq")

    def _restricted_to(self, query: tantivy.Query, keys: Keys) -> tantivy.Query:
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, self._any_of(keys.tolist())), (tantivy.Occur.Must, query)])

    def _any_of(self, keys: Sequence[int]) -> tantivy.Query:
        """A query for the papers with these keys, each with a score of 0."""
        # One term query a key: a term set query scans the whole dictionary, which takes twice as long.
        each = [(tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic")) for key in keys]
        return tantivy.Query.const_score_query(tantivy.Query.boolean_query(each), 0.0)

    def _top(self, query: tantivy.Query, k: int) -> tuple[Keys, Vectors]:
        hits = self._searcher.search(query, min(k, max(self._count, 1)), count=False).hits
        keys = self._searcher.fast_field_values("key", [address for _, address in hits])
        return np.asarray(keys, dtype=np.int64), np.asarray([score for score, _ in hits], dtype=np.float32)

    def _all(self, field: str, terms: Sequence[str]) -> tuple[int, ...]:
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term(field, term)) for term in terms])
        return tuple(self._top(query, _MAX_NAME_MATCHES)[0].tolist())

    def _phrase(self, words: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._top(tantivy.Query.phrase_query(self._schema, "authors", list(words)), _MAX_NAME_MATCHES)[0].tolist())

    def _frequency(self, field: str, term: str) -> int:
        return int(self._searcher.doc_freq(field, term))

    def _text_frequency(self, text: str) -> int:
        """Number of papers with the rarest of the text's terms."""
        return min((self._frequency("text", term) for term in index_terms(text)), default=0)

    def _is_one_name(self, text: str, folded: str) -> bool:
        """True if at least a third of the papers that have all terms of the text write them as one name."""
        find_names = self._frequency("names", folded)
        if not find_names:
            return False
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term("text", term)) for term in index_terms(text)])
        return len(self._top(query, 3 * find_names + 1)[0]) <= 3 * find_names

    def _is_family(self, word: str) -> bool:
        """True if a word is more often an author's family name than a word of a text."""
        authors = self._frequency("families", word)
        return bool(authors) and authors >= self._text_frequency(word)


_MAX_NAME_WORDS = 5
_MAX_NAME_MATCHES = 1000  # papers for each kind of name
_FOLDED_MARK = "~"  # prefix of folded names, which share a field with names as written


def _update(folder: Path, keys: Keys, digests: Digests, texts: Callable[[Keys], Iterable[IndexDocument]]) -> None:
    wanted = entries(keys, digests)
    path = folder / _DOCUMENTS_FILE
    present = np.load(path) if path.is_file() else np.empty(0, dtype=ENTRY)
    removed, added = differences(present, wanted)
    stale, missing = present[removed], wanted[added]
    if not len(stale) and not len(missing) and path.is_file():
        return
    index = _open_index(folder) if path.is_file() else _create_index(folder)
    writer = index.writer(_WRITER_HEAP_BYTES, 2)
    if len(stale):
        writer.delete_documents_by_query(tantivy.Query.term_set_query(index.schema, "key", stale["key"].tolist()))
    for text in texts(missing["key"]):
        writer.add_document(tantivy.Document.from_dict(_document(text), index.schema))
    writer.commit()
    writer.wait_merging_threads()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, wanted)
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


def _create_index(folder: Path) -> tantivy.Index:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return _with_tokenizers(tantivy.Index(_schema(), path=str(folder)))


def _open_index(folder: Path) -> tantivy.Index:
    return _with_tokenizers(tantivy.Index.open(str(folder)))


def _document(text: IndexDocument) -> dict[str, object]:
    """The fields of a paper's document in the index."""
    paper = text.card.paper
    title, abstract = normalize_text(paper.title), normalize_text(paper.abstract)
    notes = normalize_text(text.notes)
    repositories = [form for name in map(normalize_text, text.repositories) for form in (name, name.rpartition("/")[2])]
    names = [*technical_names(f"{title} {abstract} {notes}"), *repositories]
    return {
        "key": text.key,
        "title": title,
        "text": f"{title} {abstract or notes}",
        "notes": notes,
        "authors": [author.name for author in paper.authors],
        "families": [author.family for author in paper.authors],
        "names": " ".join(form for name in names for form in (name, _FOLDED_MARK + fold(name))),
        "whole_title": fold(title),
        "short_name": short_name(paper.title),
        "card": _CARD_ENCODER.encode(text.card),
    }
