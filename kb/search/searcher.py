"""The one pipeline: query → candidates → reranked hits, each with its code, its notes and the score of every stage."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from kb.encode.encoder import Encoder, Vectors
from kb.errors import IdentifierError, ImpossibleError, ModelError, QueryError
from kb.identifiers import paper_id, paper_url
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.models.marge.encoder import Relevance
from kb.models.registry import load_encoder, load_relevance
from kb.papers import Card, CodeLink, Note, Paper, embedding_text, plain_text
from kb.search.rerank import FacetReranker
from kb.search.rerankers import load_reranker
from kb.search.retriever import Candidates, Query, Retriever, embedded_only, standardised
from kb.store import Catalogue, Filters, Generation, Home, Keys
from kb.text.facets import Facet
from kb.text.sentences import best_sentence

MAX_K = 1000
_NAMED = 100  # papers of one name that are put first, at most
_Scored = tuple[int, float, dict[str, float]]  # key, score, score of every stage


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer."""

    rank: int
    paper: Paper
    score: float
    """What the order is by, on the scale of cosines: of two queries, the one with the higher scores has the closer answers."""
    scores: dict[str, float]
    """Score of each stage: `dense`, the cosine; `lexical`, BM25; `rerank`, where a reranker saw the paper."""
    code: tuple[CodeLink, ...]
    notes: tuple[Note, ...]
    matched: str = ""
    """The sentence of abstract or notes that has most of the query's words, by their weight; '' where none has any."""

    @property
    def url(self) -> str:
        return self.paper.url or paper_url(self.paper.id)

    def as_json(self) -> dict[str, Any]:
        """The hit in the form that `--json` prints."""
        paper = self.paper
        return {
            "rank": self.rank,
            "id": paper.id,
            "title": paper.title,
            "authors": [a.name for a in paper.authors],
            "year": paper.year,
            "url": self.url,
            "score": self.score,
            "scores": self.scores,
            "code": [{"url": c.url, "source": c.source, "official": c.official, "stars": c.stars} for c in self.code],
            "notes": [{"source": n.source, "line": n.line, "title": n.title, "body": n.body} for n in self.notes],
            "matched": self.matched,
        }


class Searcher:
    """Answers queries over one generation. Safe to share between threads; close it when a newer one is served."""

    def __init__(self, generation: Generation, encoder: Encoder | None = None, relevance: Relevance | None = None) -> None:
        """Opens the generation's indexes; raises StoreError where a file is damaged.

        The encoder is loaded at the first query with text, unless one is given: "more like this" needs none. Papers are compared
        with examples by the trained model, unless another relevance is given.
        """
        self.generation = generation
        self.catalogue = generation.catalogue
        self._encoder = encoder
        self.relevance = relevance or load_relevance(generation.manifest.model_fingerprint)
        self._retriever: Retriever | None = None
        if generation.manifest.embedded:
            dense = DenseIndex.read(generation.file(DENSE_FILE))
            lexical = LexicalIndex.read(generation.subfolder(LEXICAL_FOLDER))
            self._retriever = Retriever(dense, lexical, self.encoder, self._titles, self.relevance.adapt)
            self._reranker = load_reranker(self._texts)
            self._withdrawn = self.catalogue.withdrawn()

    @classmethod
    def open(cls, home: Home, encoder: Encoder | None = None, relevance: Relevance | None = None) -> Searcher:
        generation = home.open()
        try:
            return cls(generation, encoder, relevance)
        except BaseException:
            generation.close()
            raise

    def close(self) -> None:
        if self._retriever is not None:
            self._retriever.close()
        self.generation.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def encoder(self) -> Encoder:
        """The model of the index. Raises ModelError where another is set than the one it was built with."""
        manifest = self.generation.manifest
        if self._encoder is None:
            self._encoder = load_encoder(os.environ.get("KB_MODEL") or manifest.model_id)
        if self._encoder.fingerprint != manifest.model_fingerprint:
            raise ModelError(
                f"The index was built with {manifest.model_id} ({manifest.model_fingerprint[:12]}), and the model set is "
                f"{self._encoder.model_id} ({self._encoder.fingerprint[:12]}). Run `kb index` to embed anew, or unset KB_MODEL."
            )
        return self._encoder

    @property
    def index(self) -> DenseIndex:
        """The vectors of the papers. Raises QueryError where nothing is embedded yet."""
        return self._indexes().dense

    def _indexes(self) -> Retriever:
        if self._retriever is None:
            raise QueryError("Nothing is embedded yet. Run `kb index`.")
        return self._retriever

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self.encoder().encode(texts)

    def search(
        self, text: str, k: int = 10, filters: Filters | None = None, facet: Facet | None = None, hops: int = 1
    ) -> list[Hit]:
        """The k papers that answer best to a phrase, an abstract, a title, an id or an address.

        An id or address of a known paper, alone or several together, asks for the like of it, and the named papers
        themselves come first, as does a paper whose title is exactly the text. Behind these come papers that a query
        of nothing but a name names: its method or program, or its author. Withdrawn papers come last.
        """
        text = " ".join(text.split())
        if not text:
            raise QueryError("The query is empty: type a phrase, a title, an arXiv id or an address.")
        filters = filters or Filters()
        named = self.named_papers(text)
        if named:
            return self._answer(Query(like=tuple(named), filters=filters, facet=facet, hops=hops), k, [named])
        return self._answer(Query(text=text, filters=filters, facet=facet, hops=hops), k, self._named(text))

    def like(
        self,
        like: Sequence[str],
        unlike: Sequence[str] = (),
        text: str = "",
        k: int = 10,
        filters: Filters | None = None,
        facet: Facet | None = None,
        hops: int = 1,
    ) -> list[Hit]:
        """The k papers most like the given ones (ids or addresses), unlike others, and near a text; alike in one facet only,
        where one is given.

        A text that consists of ids or addresses of known papers names more examples. Raises QueryError for an id that
        is not in the knowledge base.
        """
        named = self.named_papers(text)
        query = Query(
            "" if named else " ".join(text.split()),
            (*(known_key(self.catalogue, i) for i in like), *named),
            tuple(known_key(self.catalogue, i) for i in unlike),
            filters or Filters(),
            facet,
            hops,
        )
        if not query.text and not query.like:
            raise QueryError("Name at least one paper to find the like of, or give a text.")
        return self._answer(query, k)

    def named_papers(self, text: str) -> list[int]:
        """Keys of the papers that the text names, if it consists of ids and addresses alone; else none.

        Raises QueryError where one of them is not in the knowledge base, or cannot exist: its digits would find nothing but
        noise.
        """
        named: list[str] = []
        impossible: ImpossibleError | None = None
        for word in text.replace(",", " ").split():
            try:
                named.append(paper_id(word))
            except ImpossibleError as error:
                impossible = error
            except IdentifierError:
                return []
        if impossible:
            raise QueryError(f"There is no such paper: {impossible}.")
        return list(dict.fromkeys(known_key(self.catalogue, identifier) for identifier in named))

    def candidates(self, query: Query, k: int, also: Sequence[int] = ()) -> tuple[Candidates, Vectors]:
        """The candidates of a query, and the reranker's score of the first of them, shape (at most n,); empty without one."""
        if not k >= 1:
            raise QueryError(f"k is {k}; ask for at least one result.")
        retriever = self._indexes()
        if not query.text and not len(embedded_only(query.like, retriever.dense)):
            raise QueryError("That paper is not embedded yet. Run `kb index`.")
        allowed = self.catalogue.select(query.filters)
        also = _among(also, allowed)
        found = retriever.candidates(query, min(k, MAX_K), allowed, also)
        reranker = self._reranker if query.facet is None else FacetReranker(self._reranker, self._encode, self._abstracts)
        if reranker is None:
            return found, np.empty(0, dtype=np.float32)
        return found, reranker.rerank(query, found)

    def _named(self, text: str) -> list[Sequence[int]]:
        """Papers that the text names, the surest kind first."""
        named = self._indexes().lexical.find_names(text)
        titled: Sequence[int] = named.title
        if not titled and self.generation.manifest.embedded < self.generation.manifest.papers:
            titled = self.catalogue.keys_titled(text)  # of those that are not in the index yet
        return [titled, named.short_name, named.exact, named.folded, named.author]

    def _answer(self, query: Query, k: int, named: Sequence[Sequence[int]] = ()) -> list[Hit]:
        """The pipeline: candidates, reranked, with the named ones first and the withdrawn ones last."""
        first = [list(kind)[:_NAMED] for kind in named]
        found, reranked = self.candidates(query, k, [key for kind in first for key in kind])
        final = final_scores(found, reranked)
        place = {int(found.keys[row]): rank for rank, row in enumerate(np.lexsort((found.keys, -final)).tolist())}
        rows = {int(key): row for row, key in enumerate(found.keys)}
        # Examples are no candidates of their own, but the query names them.
        absent = [key for key in (first[0] if first else ()) if key not in place]
        papers = [*place, *(_among(absent, self.catalogue.select(query.filters)) if absent else ())]
        tier = {key: len(first) - number for number, kind in reversed(list(enumerate(first))) for key in kind}
        sure = set(first[0]) if first else set()

        def rank(key: int) -> tuple[bool, int, int]:
            return (key in self._withdrawn and key not in sure, -tier.get(key, 0), place.get(key, -1))

        scored: list[_Scored] = []
        for key in sorted(papers, key=rank)[:k]:
            scores: dict[str, float] = {}
            score = 1.0
            if key in rows:
                row = rows[key]
                scores = {"dense": float(found.dense[row]), "lexical": float(found.lexical[row])}
                if row < len(reranked):
                    scores["rerank"] = float(reranked[row])
                score = float(np.clip(final[row], 0, 1))
            scored.append((key, score, scores))
        return _hits(self._cards([key for key, _, _ in scored]), scored, self.weights(query))

    def weights(self, query: Query) -> dict[str, float]:
        """The terms of the query, its examples' titles included, with their weights."""
        return self._indexes().lexical.term_weights(" ".join([query.text, *self._titles(query.like).values()]))

    def _cards(self, keys: Sequence[int]) -> dict[int, Card]:
        cards = self._indexes().lexical.cards(keys)
        missing = [key for key in keys if key not in cards]  # named, and not in the index yet; or the index has no cards
        return cards | self.catalogue.cards(missing) if missing else cards

    def _titles(self, keys: Sequence[int]) -> dict[int, str]:
        return {key: title for key, (title, _) in self.catalogue.texts(np.asarray(keys, dtype=np.int64)).items()} if keys else {}

    def _abstracts(self, keys: Sequence[int]) -> dict[int, str]:
        """Abstracts, and of papers without one what notes say, or the title."""
        return {key: body or title for key, (title, body) in self.catalogue.texts(np.asarray(keys, dtype=np.int64)).items()}

    def _texts(self, keys: Sequence[int]) -> dict[int, str]:
        return {key: embedding_text(*text) for key, text in self.catalogue.texts(np.asarray(keys, dtype=np.int64)).items()}


def _among(keys: Sequence[int], allowed: Keys | None) -> Sequence[int]:
    """Those of the keys that pass the filters, in their order."""
    return keys if allowed is None else [key for key, passes in zip(keys, np.isin(keys, allowed), strict=True) if passes]


def final_scores(candidates: Candidates, reranked: Vectors) -> Vectors:
    """What the candidates are ordered by at last, shape (n,): the reranker's scores, and behind them the others as they were.

    Scaled to the mean and deviation of the candidates' cosines. What retrieval and rerankers give is relative to the query;
    this can be compared between queries as well as cosines can.
    """
    n = len(reranked)
    behind = (reranked.min() if n else 0.0) - 1e-3 - (candidates.fused[n : n + 1] - candidates.fused[n:])
    scores = standardised(np.concatenate([reranked, behind]).astype(np.float32))
    return np.asarray(candidates.dense.mean() + candidates.dense.std() * scores) if len(scores) else scores


def find_paper(catalogue: Catalogue, identifier: str) -> Hit:
    """One paper with its code and notes, by id or address. Raises QueryError where it is not known."""
    key = known_key(catalogue, identifier)
    return _hits(catalogue.cards([key]), [(key, 1.0, {})])[0]


def known_key(catalogue: Catalogue, identifier: str) -> int:
    """Key of the paper of that id or address. Raises QueryError where it is not known."""
    key = catalogue.key_of(paper_id(identifier))
    if key is None:
        scheme, _, name = paper_id(identifier).partition(":")
        fetch = f"Fetch it: `kb ingest arxiv --id {name}`." if scheme == "arxiv" else "Ingest it first, or search for its title."
        raise QueryError(f"{identifier} is not in the knowledge base. {fetch}")
    return key


def _hits(cards: Mapping[int, Card], scored: Sequence[_Scored], weights: Mapping[str, float] | None = None) -> list[Hit]:
    hits: list[Hit] = []
    for rank, (key, score, scores) in enumerate(scored, start=1):
        card = cards[key]
        text = card.paper.abstract or " ".join(plain_text(note.body) for note in card.notes)
        matched = best_sentence(text, weights) if weights else ""
        hits.append(Hit(rank, card.paper, score, scores, card.code, card.notes, matched))
    return hits
