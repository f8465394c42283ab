"""The search pipeline: query → candidates → reranked hits, each with its code, its notes and the score of every stage."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, reduce
from types import TracebackType
from typing import Any

import numpy as np

from kb.encode.encoder import Encoder, Vectors
from kb.errors import IdentifierError, ImpossibleError, ModelError, QueryError
from kb.identifiers import paper_id, paper_url, repository_url
from kb.index.dense import DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.models.marge.encoder import RelevanceModel
from kb.models.registry import load_encoder, load_relevance_model
from kb.papers import Card, CodeLink, Note, Paper, embedding_text
from kb.search.paper_kind import title_words_asked_for
from kb.search.query_syntax import Conditions, ParsedQuery, Sort, parse_query, phrase_forms, read_authors
from kb.search.rerank import FacetReranker
from kb.search.rerankers import load_reranker
from kb.search.retriever import Candidates, Query, Retriever, embedded_keys, z_scores
from kb.store import Catalogue, Filters, Generation, Home, Keys
from kb.store.columns import PaperColumns
from kb.text.facets import Facet
from kb.text.sentences import best_sentence
from kb.text.spelling import Vocabulary, correct
from kb.text.tokenize import index_terms

MAX_K = 1000
_MAX_NAMED = 100  # papers of one kind of name that are put first, at most
# A hit fits a phrase if its cosine is as high, or if it has so much of the weight of the query's terms. Over 78,672 papers each
# of 32 everyday queries has ten hits with a mean cosine of .37 or more; of 24 on cooking, travel or nothing at all none has.
_MIN_FITTING_COSINE = 0.36
_MIN_FITTING_COVERAGE = 0.75
# Subtracted from the score of a paper known from notes alone, whose few words say little: full papers come first on the same
# evidence.
_NOTE_ONLY_PENALTY = 1.0
# Standard deviations of the rerank scores by which papers of the kind that a query asks for are raised. Of 0.5, 1 and 1.5 the
# least with which nearly all of the first ten are of the kind, for eight queries over 78,672 papers.
_KIND_WEIGHT = 1.0
_MAX_CORRECTED_WORDS = 12
_ScoredKey = tuple[int, float, dict[str, float]]  # key, score, scores by stage


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search."""

    rank: int
    paper: Paper
    score: float
    """The final score, by which hits are ordered, on the scale of cosines: comparable between queries."""
    scores: dict[str, float]
    """Scores by stage: `dense`, the cosine; `lexical`, BM25; `rerank`, where a reranker scored the paper."""
    code: tuple[CodeLink, ...]
    notes: tuple[Note, ...]
    matched: str = ""
    """The sentence of abstract or notes with the highest sum of weights of the query's terms; '' where none has a term."""

    fits: bool = True
    """False if neither the meaning nor the words of a phrase are near: the paper is only the nearest there is."""

    @property
    def url(self) -> str:
        """The paper's address."""
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
            "fits": self.fits,
        }


class Searcher:
    """Searches one generation. Safe to share between threads; close it when a newer generation is served."""

    def __init__(self, generation: Generation, encoder: Encoder | None = None, relevance: RelevanceModel | None = None) -> None:
        """Open the generation's indexes.

        The encoder is loaded at the first query with text, unless one is given: a search by examples needs none. `relevance`
        compares papers with examples; by default the trained model. Raises StoreError if a file is damaged, ModelError if a model
        cannot be loaded.
        """
        self.generation = generation
        self.catalogue = generation.catalogue
        self._encoder = encoder
        self.relevance = relevance or load_relevance_model(generation.manifest.model_fingerprint)
        self._retriever: Retriever | None = None
        if generation.manifest.embedded:
            dense = DenseIndex.open(generation)
            lexical = LexicalIndex.read(generation.subfolder(LEXICAL_FOLDER))
            self._retriever = Retriever(dense, lexical, self.encoder, self._texts, self.relevance.adapt)
            self._reranker = load_reranker(self._texts, generation.folder.parents[1])
            self._withdrawn = self.catalogue.withdrawn()
            self._note_only = np.asarray(sorted(self.catalogue.known_from_notes_alone()), dtype=np.int64)

    @classmethod
    def open(cls, home: Home, encoder: Encoder | None = None, relevance: RelevanceModel | None = None) -> Searcher:
        """Open the current generation of a knowledge base. Arguments and errors as for the constructor."""
        generation = home.open()
        try:
            return cls(generation, encoder, relevance)
        except BaseException:
            generation.close()
            raise

    def close(self) -> None:
        """Close the indexes and the generation."""
        if self._retriever is not None:
            self._retriever.close()
        self.generation.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def encoder(self) -> Encoder:
        """The encoder of the index. Raises ModelError if KB_MODEL names another one than the index was built with."""
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
        """The dense index. Raises QueryError if no paper is embedded yet."""
        return self._require_retriever().dense

    def _require_retriever(self) -> Retriever:
        if self._retriever is None:
            raise QueryError("Nothing is embedded yet. Run `kb index`.")
        return self._retriever

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self.encoder().encode(texts)

    def search(
        self,
        text: str,
        k: int = 10,
        filters: Filters | None = None,
        facet: Facet | None = None,
        hops: int = 1,
        sort: Sort = "relevance",
    ) -> list[Hit]:
        """Find the k best papers for a phrase, an abstract, a title, an id or an address.

        A text of ids or addresses only is a search by examples, and the named papers themselves come first. So does a paper
        whose title is exactly the text; next come papers of the method, program or author that the whole text names. Withdrawn
        papers come last.

        Operators of the query, see `kb.search.query_syntax`, restrict the results; a query of operators alone lists the papers
        that fulfil them, the newest first. `sort` orders the k best by date, the newest first, or by the stars of their code.

        Raises QueryError for an empty text, for k below 1, for an id that is unknown or cannot exist, and if no
        paper is embedded yet; ModelError if the encoder is not that of the index.
        """
        text = " ".join(text.split())
        if not text:
            raise QueryError("The query is empty: type a phrase, a title, an arXiv id or an address.")
        filters = filters or Filters()
        parsed = self.parse(text)
        query = Query(parsed.text, filters=filters, facet=facet, hops=hops, conditions=parsed.conditions)
        if not parsed.text:
            return self._listed(query, k, sort)
        named = self.named_papers(parsed.text)
        if named:
            return _sorted(self._ranked_hits(replace(query, text="", like=tuple(named)), k, [named]), sort)
        return _sorted(self._ranked_hits(query, k, self._known_items(parsed.text)), sort)

    def parse(self, text: str) -> ParsedQuery:
        """How a query is understood: its operators, and names of authors if there are such authors.

        A title with quotes or colons is plain text if there is a paper of that title.
        """
        text = " ".join(text.split())
        if self._retriever is None:
            return ParsedQuery(text)
        parsed = parse_query(text)
        if parsed.conditions and self._retriever.lexical.find_names(text).title:
            return ParsedQuery(text)
        if not (reading := read_authors(parsed.text)):
            return parsed
        for names in reading.names:
            conditions = replace(
                parsed.conditions, authors=parsed.conditions.authors + names, years=parsed.conditions.years + reading.years
            )
            known = all(self._retriever.lexical.find_names(name).author for name in names)
            if known and len(self._fulfilling(conditions)):
                return ParsedQuery(reading.topic, conditions)
        return parsed

    def like(
        self,
        like: Sequence[str],
        unlike: Sequence[str] = (),
        text: str = "",
        k: int = 10,
        filters: Filters | None = None,
        facet: Facet | None = None,
        hops: int = 1,
        sort: Sort = "relevance",
    ) -> list[Hit]:
        """Find the k papers most similar to positive examples (ids or addresses), least to negative ones, and near to a text.

        `facet` compares the background, the method or the result only. A text of ids or addresses only names more positive
        examples; its operators restrict the results. `sort` as for `search`.

        Raises QueryError without a text or positive example, for k below 1, for an id that is unknown or cannot exist, and if no
        example is embedded yet; ModelError if the encoder is not that of the index.
        """
        parsed = self.parse(text)
        named = self.named_papers(parsed.text)
        query = Query(
            "" if named else parsed.text,
            (*(require_key(self.catalogue, i) for i in like), *named),
            tuple(require_key(self.catalogue, i) for i in unlike),
            filters or Filters(),
            facet,
            hops,
            parsed.conditions,
        )
        if not query.text and not query.like:
            raise QueryError("Name at least one paper to find the like of, or give a text.")
        return _sorted(self._ranked_hits(query, k), sort)

    def named_papers(self, text: str) -> list[int]:
        """Keys of the papers that a text of ids and addresses only names; empty for any other text.

        Raises QueryError for an id that is not in the knowledge base, or that cannot exist.
        """
        named: list[str] = []
        impossible: ImpossibleError | None = None
        words = text.replace(",", " ").split()
        if _is_identifier(text):  # blanks and all, as in `arXiv:1706.03762 [cs.CL]`
            words = [text]
        for word in words:
            try:
                named.append(paper_id(word))
            except ImpossibleError as error:
                impossible = error
            except IdentifierError:
                return []
        if impossible:
            raise QueryError(f"There is no such paper: {impossible}.")
        return list(dict.fromkeys(require_key(self.catalogue, identifier) for identifier in named))

    def candidates(self, query: Query, k: int, pinned: Sequence[int] = ()) -> tuple[Candidates, Vectors]:
        """Retrieve n candidates, the pinned keys among them, and rerank the first: their rerank scores have shape (at most n,).

        Without a reranker there are no rerank scores, shape (0,). Raises QueryError for k below 1 and if nothing that the query
        needs is embedded yet; ModelError if the encoder is not that of the index.
        """
        if not k >= 1:
            raise QueryError(f"k is {k}; ask for at least one result.")
        retriever = self._require_retriever()
        if not query.text and not len(embedded_keys(query.like, retriever.dense)):
            raise QueryError("That paper is not embedded yet. Run `kb index`.")
        allowed = self._allowed(query)
        found = retriever.candidates(query, min(k, MAX_K), allowed, _filtered(pinned, allowed))
        reranker = self._reranker if query.facet is None else FacetReranker(self._reranker, self._encode, self._abstracts)
        if reranker is None:
            return found, np.empty(0, dtype=np.float32)
        scores = self._prefer_kind(query, found, reranker.rerank(query, found))
        note_only = np.isin(found.keys[: len(scores)], self._note_only)
        return found, np.asarray(scores - _NOTE_ONLY_PENALTY * note_only, dtype=np.float32)

    def _prefer_kind(self, query: Query, candidates: Candidates, reranked: Vectors) -> Vectors:
        """The rerank scores, shape (n,), raised for papers of the kind that the query asks for, such as surveys."""
        words = title_words_asked_for(query.text)
        if not words or query.by_example:
            return reranked
        of_kind = np.isin(candidates.keys[: len(reranked)], self._require_retriever().lexical.having_title_term(words))
        return np.asarray(reranked + _KIND_WEIGHT * reranked.std() * of_kind, dtype=np.float32)

    def _allowed(self, query: Query) -> Keys | None:
        """Sorted keys of the papers that pass the query's filters and conditions, shape (n,); None if all do."""
        allowed = self.catalogue.select(query.filters)
        if not query.conditions:
            return allowed
        fulfilling = self._fulfilling(query.conditions)
        return fulfilling if allowed is None else np.intersect1d(allowed, fulfilling)

    def _fulfilling(self, conditions: Conditions) -> Keys:
        """Sorted keys of the papers that fulfil these conditions, shape (n,)."""
        lexical = self._require_retriever().lexical
        years = [Filters(years=years) for years in conditions.years]
        filters = [Filters(conditions.categories, has_code=conditions.has_code), *years]
        required = [
            *(keys for each in filters if (keys := self.catalogue.select(each)) is not None),
            *(lexical.having_author(name) for name in conditions.authors),
            *(lexical.having_phrase(phrase_forms(phrase)) for phrase in conditions.phrases),
            *(lexical.having_phrase(phrase_forms(phrase), in_abstract=False) for phrase in conditions.titles),
        ]
        keys = reduce(np.intersect1d, required) if required else np.sort(self.index.keys())
        for phrase in conditions.excluded:
            keys = np.setdiff1d(keys, lexical.having_phrase(phrase_forms(phrase)), assume_unique=True)
        return keys

    def _listed(self, query: Query, k: int, sort: Sort) -> list[Hit]:
        """The first k papers that fulfil a query without text: the newest, or those whose code has the most stars."""
        if not k >= 1:
            raise QueryError(f"k is {k}; ask for at least one result.")
        ordered = self.catalogue.keys_by_stars() if sort == "stars" else self.catalogue.keys_by_date()
        keys = _filtered(ordered.tolist(), self._allowed(query))[:k]
        return _hits(self._cards(keys), [(key, 1.0, {}) for key in keys])

    def _known_items(self, text: str) -> list[Sequence[int]]:
        """Keys of the papers that the text names: by title, short name, code name, folded code name and author."""
        named = self._require_retriever().lexical.find_names(text)
        titled: Sequence[int] = named.title
        if not titled and self.generation.manifest.embedded < self.generation.manifest.papers:
            titled = self.catalogue.keys_titled(text)  # of those that are not in the index yet
        return [titled, named.short_name, named.exact, named.folded, named.author]

    def _ranked_hits(self, query: Query, k: int, known_items: Sequence[Sequence[int]] = ()) -> list[Hit]:
        """Run the pipeline: candidates, reranked, known items first, kind after kind, withdrawn papers last."""
        first = [list(kind)[:_MAX_NAMED] for kind in known_items]
        found, reranked = self.candidates(query, k, [key for kind in first for key in kind])
        final = final_scores(found, reranked)
        place = {int(found.keys[row]): rank for rank, row in enumerate(np.lexsort((found.keys, -final)).tolist())}
        rows = {int(key): row for row, key in enumerate(found.keys)}
        # Examples are not candidates, but a query of ids names them.
        absent = [key for key in (first[0] if first else ()) if key not in place]
        papers = [*place, *(_filtered(absent, self._allowed(query)) if absent else ())]
        tier = {key: len(first) - number for number, kind in reversed(list(enumerate(first))) for key in kind}
        exempt = set(first[0]) if first else set()

        def rank(key: int) -> tuple[bool, int, int]:
            return (key in self._withdrawn and key not in exempt, -tier.get(key, 0), place.get(key, -1))

        scored: list[_ScoredKey] = []
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
        weights = self.term_weights(query)
        hits = _hits(self._cards([key for key, _, _ in scored]), scored, weights)
        return hits if query.by_example else [replace(hit, fits=_fits(hit, weights)) for hit in hits]

    def correct_spelling(self, text: str) -> str:
        """The text with each word that no paper has replaced by the most similar word of the titles, if there is one.

        A long text and one with operators are left as they are. Raises QueryError if no paper is embedded yet.
        """
        retriever = self._require_retriever()
        if len(text.split()) > _MAX_CORRECTED_WORDS or self.parse(text).conditions:
            return text
        if not (unknown := retriever.lexical.unknown_words(text)):
            return text
        return correct(text, unknown, self._vocabulary)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(PaperColumns.of(self.catalogue).titles)

    def term_weights(self, query: Query) -> dict[str, float]:
        """Inverse document frequency by term of the query's text and its examples' titles.

        Raises QueryError if no paper is embedded yet.
        """
        return self._require_retriever().lexical.term_weights(
            " ".join([query.text, *(card.paper.title for card in self._cards(query.like).values())])
        )

    def _cards(self, keys: Sequence[int]) -> dict[int, Card]:
        cards = self._require_retriever().lexical.cards(keys)
        missing = [key for key in keys if key not in cards]  # known items not indexed yet, or an index without cards
        return cards | self.catalogue.cards(missing) if missing else cards

    def _abstracts(self, keys: Sequence[int]) -> dict[int, str]:
        """Abstracts by key; for papers without one the text of their notes, or the title."""
        return {key: card.body or card.paper.title for key, card in self._cards(keys).items()}

    def _texts(self, keys: Sequence[int]) -> dict[int, str]:
        return {key: embedding_text(card.paper.title, card.body) for key, card in self._cards(keys).items()}


def _filtered(keys: Sequence[int], allowed: Keys | None) -> Sequence[int]:
    """The keys that are allowed, in their order."""
    return keys if allowed is None else [key for key, passes in zip(keys, np.isin(keys, allowed), strict=True) if passes]


def _sorted(hits: list[Hit], sort: Sort) -> list[Hit]:
    """The hits in this order, numbered again; of equals the more relevant first."""
    match sort:
        case "relevance":
            return hits
        case "date":
            ordered = sorted(hits, key=lambda hit: hit.paper.published or date(hit.paper.year or 1, 1, 1), reverse=True)
        case "stars":
            ordered = sorted(hits, key=lambda hit: max((link.stars or 0 for link in hit.code), default=-1), reverse=True)
    return [replace(hit, rank=rank) for rank, hit in enumerate(ordered, start=1)]


def final_scores(candidates: Candidates, reranked: Vectors) -> Vectors:
    """Final scores, shape (n,): the rerank scores, shape (at most n,), and below them the fused scores of the other candidates.

    Scaled to mean and standard deviation of the candidates' cosines, so that scores of different queries can be compared.
    """
    n = len(reranked)
    below = (reranked.min() if n else 0.0) - 1e-3 - (candidates.fused[n : n + 1] - candidates.fused[n:])
    scores = z_scores(np.concatenate([reranked, below]).astype(np.float32))
    return np.asarray(candidates.dense.mean() + candidates.dense.std() * scores) if len(scores) else scores


def _is_identifier(text: str) -> bool:
    try:
        paper_id(text)
    except IdentifierError:
        return False
    return True


def find_paper(catalogue: Catalogue, identifier: str) -> Hit:
    """One paper with its code and notes, by id or address. Raises QueryError if it is not in the knowledge base."""
    key = require_key(catalogue, identifier)
    return _hits(catalogue.cards([key]), [(key, 1.0, {})])[0]


def require_key(catalogue: Catalogue, identifier: str) -> int:
    """Key of the paper of that id or address. Raises QueryError if it is not in the knowledge base."""
    key = catalogue.key_of(paper_id(identifier))
    if key is None:
        key = _key_of_repository(catalogue, identifier)
    if key is None:
        scheme, _, name = paper_id(identifier).partition(":")
        fetch = f"Fetch it: `kb ingest arxiv --id {name}`." if scheme == "arxiv" else "Ingest it first, or search for its title."
        raise QueryError(f"{identifier} is not in the knowledge base. {fetch}")
    return key


def _fits(hit: Hit, weights: Mapping[str, float]) -> bool:
    """True if a hit is near a phrase by its cosine or by the share of the phrase's terms, weighted, that it has."""
    if hit.scores.get("dense", 1.0) >= _MIN_FITTING_COSINE:  # a paper that the query names may have no scores
        return True
    texts = [hit.paper.title, hit.paper.abstract, *(author.name for author in hit.paper.authors)]
    texts += [text for note in hit.notes for text in (note.title, note.body)]
    terms = set(index_terms(" ".join(texts)))
    return sum(weights[term] for term in terms & weights.keys()) >= _MIN_FITTING_COVERAGE * sum(weights.values()) > 0


def _key_of_repository(catalogue: Catalogue, address: str) -> int | None:
    """Key of the paper whose code is at an address; `None` if there is none. Raises QueryError if several papers have it."""
    try:
        repository = repository_url(address)
    except IdentifierError:
        return None
    keys = catalogue.keys_with_repository(repository)
    if len(keys) > 1:
        raise QueryError(f"{len(keys)} papers have the repository {repository}. Name one of them, or search for its title.")
    return keys[0] if keys else None


def _hits(cards: Mapping[int, Card], scored: Sequence[_ScoredKey], weights: Mapping[str, float] | None = None) -> list[Hit]:
    hits: list[Hit] = []
    for rank, (key, score, scores) in enumerate(scored, start=1):
        card = cards[key]
        matched = best_sentence(card.body, weights) if weights else ""
        hits.append(Hit(rank, card.paper, score, scores, card.code, card.notes, matched))
    return hits
