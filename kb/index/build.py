"""Embeds new texts, and builds the dense and lexical indexes of a generation."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kb.cluster import Cluster
from kb.encode.encoder import DerivedEncoder, Encoder
from kb.encode.vector_store import VectorStore, digests
from kb.index.dense import DENSE_FILE, DENSE_FILES, DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.locks import holding
from kb.papers import TEXT_RECIPE, embedding_text
from kb.progress import NoProgress, Progress
from kb.store import Catalogue, Draft, Home, IndexDocuments, Keys, checksum

_SEGMENT_TEXTS = 4096  # at most so many are lost if a run is killed: half a minute on a laptop


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """Counts of an embedding run."""

    embedded: int
    """Texts embedded in this run."""
    already_embedded: int
    """Texts that had a vector before."""


def embed_missing(
    home: Home, encoder: Encoder, progress: Progress | None = None, cluster: Cluster | None = None
) -> EmbeddingReport:
    """Embed every text of the current generation that has no vector of this model yet, on the cluster if one is given.

    With a derived encoder its base embeds them, and the report is the base's. An interrupted run can be repeated: finished
    segments stay. Raises BusyError if another job is embedding, StoreError if the folder cannot be written, ClusterError if
    the cluster loses the work.
    """
    progress = progress or NoProgress()
    if isinstance(encoder, DerivedEncoder):
        report = embed_missing(home, encoder.base, progress, cluster)
        _derive_missing(home, encoder)
        return report
    with holding(
        home.path / "embedding.lock", f"Another job is embedding for {home.path}. Wait for it; this one changed nothing."
    ):
        generation = home.open()
        try:
            store = VectorStore.for_encoder(home.vectors, encoder)
            documents = generation.catalogue.documents()
            wanted = digests(documents.digests)
            _, first = np.unique(np.asarray(documents.digests), return_index=True)
            missing = np.sort(first)[store.find(wanted[np.sort(first)]) < 0]
            if len(missing):
                progress.start("Embedding", len(missing), "texts")
            segments = [missing[start : start + _SEGMENT_TEXTS] for start in range(0, len(missing), _SEGMENT_TEXTS)]
            texts = (_texts(generation.catalogue, documents.keys[segment]) for segment in segments)
            if cluster:
                found = cluster.map(encoder.encode, texts)
            else:
                found = map(partial(encoder.encode, progress=progress.advance), texts)
            for segment, vectors in zip(segments, found, strict=True):
                store.add(wanted[segment], vectors)
                if cluster:
                    progress.advance(len(segment))
            return EmbeddingReport(len(missing), len(first) - len(missing))
        finally:
            generation.close()


def _texts(catalogue: Catalogue, keys: Keys) -> list[str]:
    """The texts to embed of papers with keys of shape (n,)."""
    texts = catalogue.texts(keys)
    return [embedding_text(*texts[key]) for key in keys.tolist()]


def _derive_missing(home: Home, encoder: DerivedEncoder) -> None:
    """Compute the derived vectors of all texts that the base has embedded."""
    generation = home.open()
    try:
        wanted = np.unique(digests(generation.catalogue.documents().digests))
    finally:
        generation.close()
    store, base = VectorStore.for_encoder(home.vectors, encoder), VectorStore.for_encoder(home.vectors, encoder.base)
    positions = base.find(wanted)
    missing = (store.find(wanted) < 0) & (positions >= 0)
    if missing.any():
        store.add(wanted[missing], encoder.derive(base.take(positions[missing])))


def build_indexes(draft: Draft, encoder: Encoder | None = None) -> None:
    """Update a draft's indexes to hold all its papers that have a vector.

    Without an encoder the model of the previous generation is kept. Papers without a vector enter both indexes after
    `embed_missing` has run: the two hold the same papers. Raises StoreError if an index cannot be written.
    """
    previous = draft.previous
    if encoder is not None:
        model_id, fingerprint, dimension = encoder.model_id, encoder.fingerprint, encoder.dimension
    else:
        model_id, fingerprint, dimension = previous.model_id, previous.model_fingerprint, previous.dimension
    if not fingerprint:
        return
    store = VectorStore(draft.vectors, fingerprint, dimension)
    documents = draft.catalogue.documents()
    wanted = digests(documents.digests)
    positions = store.find(wanted)
    found = positions >= 0
    if (previous.model_fingerprint, previous.text_recipe) != (fingerprint, TEXT_RECIPE) or not _intact(draft, DENSE_FILES):
        (draft.folder / DENSE_FILE).unlink(missing_ok=True)
    embedded = positions[found]
    DenseIndex.update(
        draft.folder / DENSE_FILE, documents.keys[found], wanted[found], lambda rows: store.take(embedded[rows]), dimension
    )
    _update_lexical(draft, documents.keys[found])
    draft.manifest = replace(
        draft.manifest,
        embedded=int(found.sum()),
        model_id=model_id,
        model_fingerprint=fingerprint,
        dimension=dimension,
        text_recipe=TEXT_RECIPE,
    )


def _update_lexical(draft: Draft, keys: Keys) -> None:
    """Update the lexical index, linked from the previous generation, to papers with keys of shape (n,); rebuild a damaged one."""
    folder = draft.folder / LEXICAL_FOLDER
    if not _intact(draft, f"{LEXICAL_FOLDER}/"):
        shutil.rmtree(folder, ignore_errors=True)
    texts = IndexDocuments(draft.catalogue)
    by_key = texts.digests()
    LexicalIndex.update(folder, keys, digests([by_key[int(key)] for key in keys]), texts.of)


def _intact(draft: Draft, names: str) -> bool:
    """True if all files with this prefix, linked from the previous generation, have the size and checksum of its manifest."""
    for name, size in draft.previous.files.items():
        if name.startswith(names):
            path, published = draft.folder / name, draft.previous.checksums.get(name)
            if not path.is_file() or path.stat().st_size != size or (published is not None and checksum(path) != published):
                return False
    return True
