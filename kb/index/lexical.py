"""BM25 index in tantivy over title, text, authors, notes and names; it also stores the card that a hit shows of each paper.

A folder of immutable segment files: a new generation hard-links those of the one before and adds its own.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log1p
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import tantivy

from kb.encode.encoder import Vectors
from kb.encode.vector_store import ENTRY, Digests, differences, entries
from kb.errors import StoreError
from kb.files import replace_file, replacing
from kb.papers import Card
from kb.store import IndexDocument, Keys
from kb.text.tokenize import (
    analyzed_text,
    fold,
    index_terms,
    name_analyzer,
    normalize_text,
    short_name,
    technical_names,
    word_analyzer,
)
from kb.text.variants import acronym_definitions, compounds, without_hyphens

LEXICAL_FOLDER = "lexical"
_DOCUMENTS_FILE = "documents-3.npy"  # the version of fields, analysis and cards; an index of another version is rebuilt
# Earlier versions, which are searched until a job rebuilds them: 1 has no cards, 2 no variants and no positions of words.
_EARLIER_DOCUMENTS_FILES = ("documents-2.npy", "documents-1.npy")
_WORD = re.compile(r"[^\W\d_]{4,}")  # long enough to be misspelt
_WRITER_HEAP_BYTES = 128_000_000  # the writer's buffer; a segment is written when it is full
#: Weight of each field's BM25 in the score. For notes, names and authors there are no judgements: half the weight of the text
#: lets them count without dominating it. A name among other words is a hint only, and gets less.
_FIELD_BOOSTS = {"text": 1.0, "title": 0.3, "notes": 0.5, "names": 0.5, "families": 0.5}
_NAME_HINT_BOOST = 0.1
_MAX_QUERY_TERMS = 128  # those of the highest tf·idf; few abstracts have more
_MAX_QUERIES = 64  # that are kept; one of an abstract takes 3 ms to build
_MAX_VARIANT_WORDS = 20  # a longer query says the same in several ways by itself
# A variant counts if so many papers show it, and most of those that show any for the word.
_MIN_VARIANT_PAPERS = 3
_MIN_VARIANT_SHARE = 0.5
# A word in lower case is taken for an acronym if so many of the papers that have it define it as one.
_MIN_ACRONYM_SHARE = 0.05
_VARIANT_BOOST = 0.8  # of the written form's own weight
_MAX_LONG_FORM = 6  # terms of the long form of an acronym
_CARD_ENCODER, _CARD_DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Card)
# Deleted papers count in tantivy's statistics until their segment is merged, and a merge estimates the lengths of those that
# stay. Up to so many papers, an index from which one is deleted is rebuilt; a larger one, after so large a share of deletions.
# Between rebuilds the document frequencies are corrected, and the mean length of a field is off by less than that share.
_MAX_REBUILT_DOCUMENTS = 2_000
_MAX_DELETED_SHARE = 0.05
_DELETIONS_FILE = "deletions.json"  # number of deletions since the index was built
_MAX_COUNTED_FREQUENCY = 20_000  # a higher document frequency is scaled by the share of papers that are not deleted, not counted
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

    def __init__(self, index: tantivy.Index, *, indexed: int, has_variants: bool = True) -> None:
        """Take an open index; `indexed` is the number of its documents, deleted ones included."""
        self._schema = index.schema
        self._searcher = index.searcher()
        self._count = int(self._searcher.num_docs)
        self._indexed = indexed
        self._has_variants = has_variants
        self._counted: dict[tuple[str, str], int] = {}
        self._idf_by_term: dict[str, float] = {}  # the index does not change, and a search asks for hundreds
        self._queries: dict[str, tantivy.Query | None] = {}

    @classmethod
    def read(cls, folder: Path) -> LexicalIndex:
        """Open the index in a folder. Raises StoreError if the folder is not a readable index."""
        try:
            if not any((folder / name).is_file() for name in (_DOCUMENTS_FILE, *_EARLIER_DOCUMENTS_FILES)):
                raise FileNotFoundError(f"no {_DOCUMENTS_FILE}")
            has_variants = (folder / _DOCUMENTS_FILE).is_file()
            segments = json.loads((folder / "meta.json").read_bytes())["segments"]
            indexed = sum(int(segment["max_doc"]) for segment in segments)
            if os.access(folder, os.W_OK):
                return cls(_open_index(folder), indexed=indexed, has_variants=has_variants)
            # tantivy creates a lock file beside the index when it opens it. All files are open once there is a searcher.
            with TemporaryDirectory(prefix="kb-lexical-") as links:
                for path in folder.resolve().iterdir():
                    if path.suffix != ".lock":
                        (Path(links) / path.name).symlink_to(path)
                return cls(_open_index(Path(links)), indexed=indexed, has_variants=has_variants)
        except (ValueError, OSError, KeyError, TypeError) as error:
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
        query = self._query(text)
        return np.zeros(len(keys), dtype=np.float32) if query is None or not len(keys) else self._scores(query, keys)

    def _scores(self, query: tantivy.Query, keys: Keys) -> Vectors:
        out = np.zeros(len(keys), dtype=np.float32)
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

    def having_phrase(self, forms: Iterable[Sequence[str]], *, in_abstract: bool = True) -> Keys:
        """Keys of the papers that have one of these word sequences in the title or the abstract, shape (n,), sorted.

        Words are those of `name_analyzer`: neither stemmed nor left out. Raises StoreError if the index is of an earlier version.
        """
        fields = ("title_words", "abstract_words") if in_abstract else ("title_words",)
        try:
            return self._matching([self._sequence(field, words) for words in forms for field in fields])
        except ValueError as error:  # tantivy raises it for a field that the schema lacks
            raise StoreError(
                "This index is of an earlier version without exact phrases. Run `kb index`: it is built again."
            ) from error

    def having_title_term(self, words: Iterable[str]) -> Keys:
        """Keys of the papers that have one of these words, or another form of it, in the title, shape (n,), sorted."""
        terms = dict.fromkeys(term for word in words for term in index_terms(word))
        return self._matching([self._term("title", term) for term in terms])

    def having_author(self, name: str) -> Keys:
        """Keys of the papers with an author of this name, in reading order or family name first, shape (n,), sorted.

        A family name alone will do; an initial stands for any name that begins with it, and middle names may be left out.
        """
        words = list(name_analyzer().analyze(normalize_text(name)))
        known = [word for word in words if len(word) > 1]
        if len(words) < 2 or not known:
            return self._matching([self._sequence("families", [word]) for word in words])
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._sequence("authors", [word])) for word in known])
        cards = self.cards(self._matching([query]).tolist())
        orders = (words, [*words[1:], words[0]])
        found = [
            key
            for key, card in cards.items()
            if any(_is_abbreviation(order, author.name) for author in card.paper.authors for order in orders)
        ]
        return np.sort(np.asarray(found, dtype=np.int64))

    def term_weights(self, text: str) -> dict[str, float]:
        """The terms of a text with their inverse document frequency as in BM25: ln(1 + (N − n + 0.5) / (n + 0.5)).

        N: papers in the index; n: papers with the term in their text.
        """
        return {term: self._idf(term) for term in self._terms(text)}

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that no paper has, in any of their forms."""
        found = {word: index_terms(word) for word in _WORD.findall(text)}
        return [word for word, terms in found.items() if terms and not any(self._frequency("text", term) for term in terms)]

    # Queries ---------------------------------------------------------------------------------------------------------

    def _terms(self, text: str) -> dict[str, int]:
        """Terms of a query with their frequency in it; of a very long query those of the highest tf·idf.

        Neighbouring words that papers write as one word or with a hyphen are one more term: `over smoothing` → `oversmooth`.
        """
        words = text.split()
        terms = Counter(map(self._without_plural, index_terms(text)))
        if len(words) <= _MAX_VARIANT_WORDS:
            for first, second in pairwise(words):
                joined = index_terms(first + second)
                if len(joined) == 1 and joined[0] not in terms and self._frequency("text", joined[0]) >= _MIN_VARIANT_PAPERS:
                    terms[joined[0]] = 1
        if len(terms) <= _MAX_QUERY_TERMS:
            return terms
        idf = {term: self._idf(term) for term in terms}
        return dict(sorted(terms.items(), key=lambda row: -row[1] * idf[row[0]])[:_MAX_QUERY_TERMS])

    def _without_plural(self, term: str) -> str:
        """`gnn` for `gnns`, as acronyms are indexed; a query in lower case does not tell them from other words."""
        is_plural = term.endswith("s") and not self._frequency("text", term) and self._frequency("text", term[:-1])
        return term[:-1] if is_plural else term

    def _idf(self, term: str) -> float:
        """Inverse document frequency as in BM25: ln(1 + (N − n + 0.5) / (n + 0.5))."""
        if term not in self._idf_by_term:
            self._idf_by_term[term] = _bm25_idf(self._count, self._frequency("text", term))
        return self._idf_by_term[term]

    def _query(self, text: str) -> tantivy.Query | None:
        """The query for a text. A search asks for the best papers, then for the scores of others: it is built once."""
        if text in (queries := self._queries):
            return queries[text]
        if len(queries) >= _MAX_QUERIES:
            self._queries = queries = {}  # a new one: other threads may be reading the old one
        return queries.setdefault(text, self._build_query(text))

    def _build_query(self, text: str) -> tantivy.Query | None:
        terms, normal = self._terms(text), normalize_text(text)
        names = technical_names(normal)
        name_boost = _FIELD_BOOSTS["names"] if len(names) == len(normal.split()) else _NAME_HINT_BOOST
        asked = [(field, term, _FIELD_BOOSTS[field] * n) for field in ("text", "title", "notes") for term, n in terms.items()]
        asked += [("names", form, name_boost) for name in names for form in (name, _FOLDED_MARK + fold(name))]
        families = [word for word in name_analyzer().analyze(normal) if self._is_family(word)]
        asked += [("families", word, _FIELD_BOOSTS["families"]) for word in families]
        variants = self._variants(normal) if self._has_variants and len(normal.split()) <= _MAX_VARIANT_WORDS else {}
        varied = {term for terms in variants for term in terms}
        # A flat disjunction, which tantivy prunes (block-max WAND); in nested ones it scores every match.
        found = [
            tantivy.Query.boost_query(self._term(field, term), boost)
            for field, term, boost in asked
            if field not in _VARIANT_FIELDS or term not in varied
        ]
        found += [self._either(field, *pair) for field in _VARIANT_FIELDS for pair in variants.items()]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in found]) if found else None

    def _variants(self, text: str) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Other terms for terms of a query: the long form of an acronym and back, the parts of a compound."""
        words = [
            (self._without_plural(terms[0]), any(map(str.isupper, word[1:])))
            for word in text.split()
            if len(terms := index_terms(word)) == 1
        ]
        found: dict[tuple[str, ...], tuple[str, ...]] = {}
        taken: set[int] = set()  # words of a longer form
        for length in range(_MAX_LONG_FORM, 0, -1):
            for start in range(len(words) - length + 1):
                span = range(start, start + length)
                span_terms = tuple(words[place][0] for place in span)
                if taken.isdisjoint(span) and (
                    other := self._variant("_".join(span_terms), is_name=length > 1 or words[start][1])
                ):
                    found[span_terms] = tuple(other.split("_"))
                    taken.update(span)
        return found

    def _variant(self, term: str, *, is_name: bool) -> str:
        """What most papers that show a variant of the term show; '' if too few do."""
        indexed = self._searcher.terms_with_prefix("variants", f"{term}=", limit=5)
        if not indexed:
            return ""
        shown = {variant: self._frequency("variants", variant) for variant, _ in indexed}
        best, total = max(shown, key=lambda variant: shown[variant]), sum(shown.values())
        n = shown[best]
        enough = is_name or n >= _MIN_ACRONYM_SHARE * self._frequency("text", term)
        return best.partition("=")[2] if n >= _MIN_VARIANT_PAPERS and n >= _MIN_VARIANT_SHARE * total and enough else ""

    def _either(self, field: str, terms: tuple[str, ...], other: tuple[str, ...]) -> tantivy.Query:
        """The terms, or all of the other ones together, whichever scores more; weighted as if the other ones were the terms."""
        written = tantivy.Query.boolean_query([(tantivy.Occur.Should, self._term(field, term)) for term in terms])
        together = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term(field, term)) for term in other])
        scale = _VARIANT_BOOST * sum(map(self._idf, terms)) / max(sum(map(self._idf, other)), 1e-6)
        either = tantivy.Query.disjunction_max_query([written, tantivy.Query.boost_query(together, scale)])
        return tantivy.Query.boost_query(either, _FIELD_BOOSTS[field])

    def _term(self, field: str, term: str) -> tantivy.Query:
        """A query for a term, scored by its inverse document frequency among the papers that are not deleted."""
        option = "basic" if field in _BASIC_FIELDS else "freq"
        query = tantivy.Query.term_query(self._schema, field, term, option)
        if self._indexed == self._count or not (frequency := int(self._searcher.doc_freq(field, term))):
            return query
        idf = _bm25_idf(self._count, self._frequency(field, term))
        return tantivy.Query.boost_query(query, idf / _bm25_idf(self._indexed, frequency))

    def _restricted_to(self, query: tantivy.Query, keys: Keys) -> tantivy.Query:
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, self._any_of(keys.tolist())), (tantivy.Occur.Must, query)])

    def _any_of(self, keys: Sequence[int]) -> tantivy.Query:
        """A query for the papers with these keys, each with a score of 0."""
        # One term query a key: a term set query scans the whole dictionary, which takes twice as long.
        each = [(tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic")) for key in keys]
        return tantivy.Query.const_score_query(tantivy.Query.boolean_query(each), 0.0)

    def _top(self, query: tantivy.Query, k: int) -> tuple[Keys, Vectors]:
        """The k papers of the highest scores, ties by ascending key: keys and scores, both of shape (at most k,)."""
        k = min(k, max(self._count, 1))
        depth = k + 1
        while True:
            hits = self._searcher.search(query, depth, count=False).hits
            # Among papers tied at place k tantivy keeps any: fetch all of them, so that the lower keys win.
            if len(hits) < depth or hits[k - 1][0] > hits[-1][0] or depth > _MAX_DEPTH:
                break
            depth *= 4
        scores = np.asarray([score for score, _ in hits], dtype=np.float32)
        keys = np.asarray(self._searcher.fast_field_values("key", [address for _, address in hits]), dtype=np.int64)
        order = np.lexsort((keys, -scores))[:k]
        return keys[order], scores[order]

    def _sequence(self, field: str, words: Sequence[str]) -> tantivy.Query:
        """A query for papers with these words one after the other in a field."""
        if len(words) == 1:
            return tantivy.Query.term_query(self._schema, field, words[0], "basic")
        return tantivy.Query.phrase_query(self._schema, field, list(words))

    def _matching(self, queries: Sequence[tantivy.Query]) -> Keys:
        """Keys of all papers that match one of the queries, shape (n,), sorted."""
        if not queries:
            return np.empty(0, dtype=np.int64)
        any_of = tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in queries])
        return np.unique(self._top(tantivy.Query.const_score_query(any_of, 0.0), self._count)[0])

    def _all(self, field: str, terms: Sequence[str]) -> tuple[int, ...]:
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term(field, term)) for term in terms])
        return tuple(self._top(query, _MAX_NAME_MATCHES)[0].tolist())

    def _phrase(self, words: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._top(tantivy.Query.phrase_query(self._schema, "authors", list(words)), _MAX_NAME_MATCHES)[0].tolist())

    def _frequency(self, field: str, term: str) -> int:
        """Number of papers that have a term in a field, without deleted ones."""
        frequency = int(self._searcher.doc_freq(field, term))
        if not frequency or self._indexed == self._count:
            return frequency
        if frequency > _MAX_COUNTED_FREQUENCY:
            return round(frequency * self._count / self._indexed)
        if (field, term) not in self._counted:
            holding = tantivy.Query.const_score_query(tantivy.Query.term_query(self._schema, field, term, "basic"), 0.0)
            self._counted[field, term] = int(self._searcher.search(holding, 1, count=True).count)  # type: ignore[attr-defined]  # missing in its stubs
        return self._counted[field, term]

    def _text_frequency(self, text: str) -> int:
        """Number of papers with the rarest of the text's terms."""
        return min((self._frequency("text", term) for term in index_terms(text)), default=0)

    def _is_one_name(self, text: str, folded: str) -> bool:
        """True if at least a third of the papers that have all terms of the text write them as one name."""
        named = self._frequency("names", folded)
        if not named:
            return False
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, self._term("text", term)) for term in index_terms(text)])
        return len(self._top(query, 3 * named + 1)[0]) <= 3 * named

    def _is_family(self, word: str) -> bool:
        """True if a word is more often an author's family name than a word of a text."""
        authors = self._frequency("families", word)
        return bool(authors) and authors >= self._text_frequency(word)


def _is_abbreviation(words: Sequence[str], name: str) -> bool:
    """True if the words, or initials, occur in a name in this order."""
    rest = iter(name_analyzer().analyze(normalize_text(name)))
    return all(any(part.startswith(word) if len(word) == 1 else part == word for part in rest) for word in words)


def _bm25_idf(papers: int, holding: int) -> float:
    """Inverse document frequency as in BM25: ln(1 + (N − n + 0.5) / (n + 0.5)); N: papers, n: those that hold the term."""
    return log1p((papers - holding + 0.5) / (holding + 0.5))


_VARIANT_FIELDS = ("text", "title")
_BASIC_FIELDS = frozenset({"whole_title", "short_name", "variants"})
_MAX_NAME_WORDS = 5
_MAX_NAME_MATCHES = 1000  # papers for each kind of name
_FOLDED_MARK = "~"  # prefix of folded names, which share a field with names as written


def _update(folder: Path, keys: Keys, digests: Digests, texts: Callable[[Keys], Iterable[IndexDocument]]) -> None:
    wanted = entries(keys, digests)
    path = folder / _DOCUMENTS_FILE
    exists = path.is_file()
    present = np.load(path) if exists else np.empty(0, dtype=ENTRY)
    removed, added = differences(present, wanted)
    stale, missing = present[removed], wanted[added]
    if not len(stale) and not len(missing) and exists:
        return
    deletions = _read_deletions(folder) + len(stale)
    if deletions > (0 if len(wanted) <= _MAX_REBUILT_DOCUMENTS else _MAX_DELETED_SHARE * len(wanted)):
        exists, deletions, stale, missing = False, 0, stale[:0], wanted
    index = _open_index(folder) if exists else _create_index(folder)
    writer = index.writer(_WRITER_HEAP_BYTES, 2)
    if len(stale):
        writer.delete_documents_by_query(tantivy.Query.term_set_query(index.schema, "key", stale["key"].tolist()))
    for text in texts(missing["key"]):
        writer.add_document(tantivy.Document.from_dict(_document(text), index.schema))
    writer.commit()
    writer.wait_merging_threads()
    replace_file(folder / _DELETIONS_FILE, json.dumps(deletions))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, wanted)
    for lock in folder.glob(".tantivy-*.lock"):
        lock.unlink()
    permissions = path.stat().st_mode & 0o777
    for written in folder.iterdir():  # tantivy makes some for the user alone, though a group may share the knowledge base
        if written.stat().st_mode & 0o777 != permissions:
            with suppress(PermissionError):  # another member of the group wrote it
                written.chmod(permissions)


def _read_deletions(folder: Path) -> int:
    """Number of deletions since the index was built; 0 for an index that says nothing of it."""
    path = folder / _DELETIONS_FILE
    return int(json.loads(path.read_bytes())) if path.is_file() else 0


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("key", indexed=True, fast=True)
    for field in ("title", "text", "notes"):
        builder.add_text_field(field, tokenizer_name="words", index_option="freq")
    for field in ("authors", "title_words", "abstract_words"):
        builder.add_text_field(field, tokenizer_name="people", index_option="position")
    builder.add_text_field("families", tokenizer_name="people", index_option="freq")
    builder.add_text_field("names", tokenizer_name="blanks", index_option="freq")
    builder.add_text_field("variants", tokenizer_name="blanks", index_option="basic")
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
    title, abstract, notes = normalize_text(paper.title), normalize_text(paper.abstract), normalize_text(text.notes)
    repositories = [form for name in map(normalize_text, text.repositories) for form in (name, name.rpartition("/")[2])]
    names = [*technical_names(f"{title} {abstract} {notes}"), *repositories]
    whole = f"{title} {abstract or notes}"
    return {
        "key": text.key,
        "title": analyzed_text(title),
        "text": analyzed_text(whole),
        "notes": analyzed_text(notes),
        "title_words": title,
        "abstract_words": abstract,
        "authors": [author.name for author in paper.authors],
        "families": [author.family for author in paper.authors],
        "names": " ".join(form for name in names for form in (name, _FOLDED_MARK + fold(name))),
        "variants": " ".join(_shown_variants(whole)),
        "whole_title": fold(title),
        "short_name": short_name(paper.title),
        "card": _CARD_ENCODER.encode(text.card),
    }


def _shown_variants(text: str) -> set[str]:
    """Variants that a paper shows, as terms of the field: `gnn=graph_neural_network` and back, `finetun=fine_tune`."""
    shown: set[str] = set()
    for acronym, long_form in acronym_definitions(text):
        short, parts = index_terms(acronym), index_terms(long_form.replace("-", " "))
        if len(short) == 1 and 2 <= len(parts) <= _MAX_LONG_FORM:
            shown |= {f"{short[0]}={'_'.join(parts)}", f"{'_'.join(parts)}={short[0]}"}
    shown |= {variant for compound in compounds(text) if (variant := _compound_variant(compound))}
    return shown


@lru_cache(maxsize=50_000)
def _compound_variant(compound: str) -> str:
    joined, parts = index_terms(without_hyphens(compound)), index_terms(without_hyphens(compound, " "))
    return f"{joined[0]}={'_'.join(parts)}" if len(joined) == 1 and len(parts) >= 2 else ""
