"""The one pipeline: query → candidates → reranked hits, each with its code, its notes and the score of every stage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from kb.dense import DENSE_FILE, DenseIndex
from kb.embed import Encoder, Vectors, load_encoder
from kb.errors import IdentifierError, ModelError, QueryError
from kb.identifiers import paper_id, paper_url
from kb.papers import CodeLink, Note, Paper
from kb.retrieve import Candidates, Query, embedded_only, retrieve_dense
from kb.store import Catalogue, Filters, Generation, Home

MAX_K = 1000
_Scored = tuple[int, float, dict[str, float]]  # key, score, score of every stage


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer."""

    rank: int
    paper: Paper
    score: float
    scores: dict[str, float]
    """Score of each stage that saw the paper: `dense`, the cosine."""
    code: tuple[CodeLink, ...]
    notes: tuple[Note, ...]
    matched: str = ""
    """The sentence that matched best."""

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

    def __init__(self, generation: Generation, encoder: Encoder | None = None) -> None:
        """Opens the generation's indexes; raises StoreError where a file is damaged.

        The encoder is loaded at the first query with text, unless one is given: "more like this" needs none.
        """
        self.generation = generation
        self.catalogue = generation.catalogue
        self._encoder = encoder
        self._index = DenseIndex.read(generation.file(DENSE_FILE)) if generation.manifest.embedded else None

    @classmethod
    def open(cls, home: Home, encoder: Encoder | None = None) -> Searcher:
        generation = home.open()
        try:
            return cls(generation, encoder)
        except BaseException:
            generation.close()
            raise

    def close(self) -> None:
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

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self.encoder().encode(texts)

    def search(self, text: str, k: int = 10, filters: Filters | None = None) -> list[Hit]:
        """The k papers that answer best to a phrase, an abstract, a title, an id or an address.

        An id or address of a known paper, alone or several together, asks for the like of it, and the named papers
        themselves come first, as does a paper whose title is exactly the text.
        """
        text = " ".join(text.split())
        if not text:
            raise QueryError("The query is empty: type a phrase, a title, an arXiv id or an address.")
        filters = filters or Filters()
        named = self.named_papers(text)
        if named:
            found = self._find(Query(like=tuple(named), filters=filters), k)
        else:
            named = self.catalogue.keys_titled(text)
            found = self._find(Query(text=text, filters=filters), k + len(named))
        return self._hits(self._with_first(named, found, filters, k))

    def like(
        self, like: Sequence[str], unlike: Sequence[str] = (), text: str = "", k: int = 10, filters: Filters | None = None
    ) -> list[Hit]:
        """The k papers most like the given ones (ids or addresses), unlike others, and near a text.

        A text that consists of ids or addresses of known papers names more examples. Raises QueryError for an id that
        is not in the knowledge base.
        """
        named = self.named_papers(text)
        query = Query(
            "" if named else " ".join(text.split()),
            (*(_known(self.catalogue, i) for i in like), *named),
            tuple(_known(self.catalogue, i) for i in unlike),
            filters or Filters(),
        )
        if not query.text and not query.like:
            raise QueryError("Name at least one paper to find the like of, or give a text.")
        return self._hits(self._find(query, k))

    def named_papers(self, text: str) -> list[int]:
        """Keys of the papers that the text names, if it consists of ids and addresses alone; else none.

        Raises QueryError where one of them is not in the knowledge base: its digits would find nothing but noise.
        """
        named: list[str] = []
        for word in text.replace(",", " ").split():
            try:
                named.append(paper_id(word))
            except IdentifierError:
                return []
        return list(dict.fromkeys(_known(self.catalogue, identifier) for identifier in named))

    def _find(self, query: Query, k: int) -> Candidates:
        if not k >= 1:
            raise QueryError(f"k is {k}; ask for at least one result.")
        if self._index is None:
            raise QueryError("Nothing is embedded yet. Run `kb index`.")
        if not query.text and not len(embedded_only(query.like, self._index)):
            raise QueryError("That paper is not embedded yet. Run `kb index`.")
        allowed = self.catalogue.select(query.filters)
        return retrieve_dense(query, min(k, MAX_K), self._index, self._encode, allowed)

    def _with_first(self, named: list[int], found: Candidates, filters: Filters, k: int) -> list[_Scored]:
        """The found papers, behind the ones that the query itself names, as far as these pass the filters."""
        scored = [(int(key), float(score), {"dense": float(score)}) for key, score in zip(found.keys, found.scores, strict=True)]
        if not named:
            return scored[:k]
        allowed = self.catalogue.select(filters)
        first = [key for key in named if allowed is None or key in allowed]
        by_key = {row[0]: row[2] for row in scored}
        return ([(key, 1.0, by_key.get(key, {})) for key in first] + [row for row in scored if row[0] not in first])[:k]

    def _hits(self, scored: Sequence[_Scored] | Candidates) -> list[Hit]:
        if isinstance(scored, Candidates):
            scored = [(int(k), float(s), {"dense": float(s)}) for k, s in zip(scored.keys, scored.scores, strict=True)]
        return _hits(self.catalogue, scored)


def find_paper(catalogue: Catalogue, identifier: str) -> Hit:
    """One paper with its code and notes, by id or address. Raises QueryError where it is not known."""
    return _hits(catalogue, [(_known(catalogue, identifier), 1.0, {})])[0]


def _known(catalogue: Catalogue, identifier: str) -> int:
    key = catalogue.key_of(paper_id(identifier))
    if key is None:
        raise QueryError(f"{identifier} is not in the knowledge base. Ingest it first, or search for its title.")
    return key


def _hits(catalogue: Catalogue, scored: Sequence[_Scored]) -> list[Hit]:
    papers = catalogue.papers([key for key, _, _ in scored])
    ids = [p.id for p in papers.values()]
    code, notes = catalogue.code_of(ids), catalogue.notes_on(ids)
    return [
        Hit(rank, papers[key], score, scores, tuple(code.get(papers[key].id, ())), tuple(notes.get(papers[key].id, ())))
        for rank, (key, score, scores) in enumerate(scored, start=1)
    ]
