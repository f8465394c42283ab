"""Integrity checks of a knowledge base, and repairs.

Compares files with their published checksums, the catalogue with itself, vectors with texts, the indexes with brute force
on a sample, and reading lists with the catalogue. The user's own files are checked but never changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Encoder, Vectors
from kb.encode.vector_store import VectorStore, damaged_segments, digests, vectors_file
from kb.errors import NewerError, StoreError
from kb.index.build import build_indexes, embed_missing
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.insights.map_layout import update_map
from kb.library import LIBRARY_FILE, Library, LibraryFile
from kb.locks import holding
from kb.papers import embedding_text
from kb.progress import Progress
from kb.store import CATALOGUE, DocumentBatch, Generation, Home, IndexDocuments, Keys, Manifest, catalogue_problems, checksum
from kb.text.tokenize import index_terms, normalize_text

_SAMPLED_PAPERS = 16  # papers whose neighbours and words are looked up
_SAMPLED_TEXTS = 4  # papers that are embedded again
_BLOCK_ROWS = 1 << 16  # vectors held in memory at a time
_K = 10
_MIN_RECALL = 0.9  # of the sample's nearest neighbours: an index that approximates finds more than this
_MIN_COSINE = 0.99  # between two vectors of one text: stored as float16, and computed in more than one way


class Part(Enum):
    """Part of the knowledge base that a finding is about, which decides the repair."""

    POINTER = "pointer"
    MANIFEST = "manifest"
    CATALOGUE = "catalogue"
    VECTORS = "vectors"
    INDEX = "index"
    LIBRARY = "library"
    LISTS = "lists"
    NOTES = "notes"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem."""

    part: Part
    place: str
    """The file, by its path below the knowledge base's folder; for lists the list's name."""
    problem: str
    remedy: str
    """The command that repairs it, and what it does."""

    @property
    def is_fault(self) -> bool:
        """Whether something is damaged, rather than merely absent."""
        return self.part not in {Part.LISTS, Part.NOTES}


_REPAIR = "`kb doctor --repair`"


def examine(home: Home, encoder: Callable[[str], Encoder]) -> list[Finding]:
    """Check everything; returns the problems found.

    `encoder` loads the model of an id; it is called only if there are vectors to compare. Raises StoreError if there is
    no knowledge base at all, and NewerError if a newer version wrote it.
    """
    library = home.path / LIBRARY_FILE
    found = list(_library(library))
    if not home.numbers() and library.exists():
        return found
    found += _current(home)
    name = home.current_name()
    folder = home.generations / name
    try:
        manifest = Manifest.read(folder)
    except NewerError:
        raise
    except StoreError:
        remedy = f"{_REPAIR}: publishes the catalogue anew, with indexes from the stored vectors"
        return [*found, Finding(Part.MANIFEST, f"generations/{name}/manifest.json", "is missing or damaged", remedy)]
    files = list(_files(home, folder, manifest))
    found += files
    if any(finding.part is Part.CATALOGUE for finding in files):
        return found
    try:
        generation = home.open()
    except StoreError as error:
        return [*found, _catalogue_finding(home, name, str(error))]
    try:
        found += (_catalogue_finding(home, name, problem) for problem in _catalogue_contents(generation))
        found += _vectors(home, generation, encoder)
        if not any(finding.part is Part.INDEX for finding in files) and generation.manifest.embedded:
            found += _indexes(home, generation)
        if not any(finding.part is Part.LIBRARY for finding in found):
            found += _lists(Library(library), generation)
        found += _notes(generation)
    finally:
        generation.close()
    return found


def repair(home: Home, found: list[Finding], encoder: Callable[[str], Encoder], progress: Progress) -> list[str]:
    """Rebuild what can be derived from intact data; returns what was done, in a sentence each.

    Raises BusyError if another job is writing or embedding.
    """
    parts = {finding.part for finding in found}
    done: list[str] = []
    if Part.POINTER in parts:
        home.set_current(f"{home.newest():06d}")
        done.append(f"CURRENT names generation {home.newest()} again.")
    if Part.CATALOGUE in parts:
        kept = home.roll_back()
        if kept is None:
            return done
        done.append(
            f"Generation {home.current_name()} is served again; what later jobs brought has to be ingested once more. "
            f"The damaged one is kept in {kept}."
        )
    if Part.VECTORS in parts:
        removed = _remove_damaged_vectors(home, found)
        done.append(f"Removed {removed} files of damaged or unfinished vectors.")
    if Part.MANIFEST in parts:
        with home.draft() as draft:
            draft.publish()
        done.append("Published the catalogue anew.")
    if parts & {Part.MANIFEST, Part.CATALOGUE, Part.VECTORS, Part.INDEX}:
        manifest = Manifest.read(home.generations / home.current_name())
        # Without its manifest a generation does not tell its model any more, but vectors tell that there was one.
        if manifest.model_id or home.vectors.is_dir():
            damaged = [finding.place.split("/", 2)[-1] for finding in found if finding.part is Part.INDEX]
            done.append(_rebuild(home, damaged, encoder(manifest.model_id), progress))
    return done


def _rebuild(home: Home, damaged: list[str], encoder: Encoder, progress: Progress) -> str:
    embedding = embed_missing(home, encoder, progress)
    with home.draft() as draft:
        draft.discard(DENSE_FILE, LEXICAL_FOLDER, *damaged)
        build_indexes(draft, encoder)
        update_map(draft, progress)
        draft.publish()
    return f"Built the indexes anew; {embedding.embedded:,} texts were embedded again."


def _remove_damaged_vectors(home: Home, found: list[Finding]) -> int:
    busy = f"A job is embedding for {home.path}. Wait for it; the damaged vectors were left as they are."
    with holding(home.path / "embedding.lock", busy):
        paths = [home.path / finding.place for finding in found if finding.part is Part.VECTORS]
        paths = [path for path in (*paths, *map(vectors_file, paths)) if path.suffix in {".npy", ".tmp"} and path.is_file()]
        for path in set(paths):
            path.unlink()
        return len(set(paths))


# What is looked at ---------------------------------------------------------------------------------------------------


def _library(path: Path) -> Iterator[Finding]:
    """Check the user's own file."""
    try:
        for problem in LibraryFile(path).problems():
            yield Finding(Part.LIBRARY, LIBRARY_FILE, problem, "`kb restore FILE`")
    except NewerError:
        raise
    except StoreError as error:
        yield Finding(Part.LIBRARY, LIBRARY_FILE, str(error), "look at the disk and the folder's permissions")


def _current(home: Home) -> Iterator[Finding]:
    """Check that CURRENT names an existing generation."""
    pointer = home.path / "CURRENT"
    try:
        named = pointer.read_bytes().decode("utf-8", "replace").strip()
        problem = f"names {named!r}, which is no generation here" if named else "is empty"
    except FileNotFoundError:
        named, problem = "", "is missing"
    except OSError as error:
        named, problem = "", f"cannot be read: {error.strerror}"
    if named != home.current_name():
        yield Finding(Part.POINTER, "CURRENT", problem, f"{_REPAIR}: lets it name the newest whole generation")


def _files(home: Home, folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Check that every file exists with its published size and checksum."""
    for name, size in manifest.files.items():
        path = folder / name
        if not path.is_file():
            problem = "is missing"
        elif (present := path.stat().st_size) != size:
            problem = f"has {present:,} bytes instead of {size:,}"
        elif name in manifest.checksums and checksum(path) != manifest.checksums[name]:
            problem = "is not what was published: its checksum differs"
        else:
            continue
        if name == CATALOGUE:
            yield _catalogue_finding(home, folder.name, problem)
        else:
            place = path.relative_to(home.path).as_posix()
            yield Finding(Part.INDEX, place, problem, f"{_REPAIR}: builds the indexes anew from the stored vectors")


def _catalogue_finding(home: Home, name: str, problem: str) -> Finding:
    earlier = home.previous_intact()
    remedy = (
        f"{_REPAIR}: goes back to generation {earlier}; run later jobs once more"
        if earlier
        else f"restore {home.path} from a copy of your own, or move it away and ingest your sources again"
    )
    return Finding(Part.CATALOGUE, f"generations/{name}/{CATALOGUE}", problem, remedy)


def _notes(generation: Generation) -> Iterator[Finding]:
    """Notes whose file is gone."""
    for source in generation.catalogue.notes.sources():
        path = Path(source)
        if path.is_absolute() and not path.exists():
            remedy = f"`kb ingest notes FOLDER` with its new place, or `kb ingest notes --forget {shlex.quote(source)}`"
            yield Finding(Part.NOTES, source, "the file of these notes is gone", remedy)


def _catalogue_contents(generation: Generation) -> Iterator[str]:
    """Check the catalogue's integrity, and its counts against the manifest."""
    problems = catalogue_problems(generation.catalogue)
    yield from problems
    if problems:
        return
    for name, number in generation.catalogue.counts().items():
        said = getattr(generation.manifest, name)
        if number != said:
            yield f"has {number:,} {name.replace('_', ' ')} where the manifest says {said:,}"


def _vectors(home: Home, generation: Generation, encoder: Callable[[str], Encoder]) -> Iterator[Finding]:
    """Check that every segment is intact, every indexed text has its vector, and a sample of vectors fits the texts."""
    manifest = generation.manifest
    remedy = f"{_REPAIR}: embeds the texts again"
    if not home.vectors.is_dir():
        if manifest.embedded:
            yield Finding(Part.VECTORS, "vectors", "is missing", remedy)
        return
    damaged = False
    for left in sorted(home.vectors.rglob("*.tmp")):
        place = left.relative_to(home.path).as_posix()
        yield Finding(Part.VECTORS, place, "was left behind by a job that was killed", f"{_REPAIR}: removes it")
    for path in sorted(home.vectors.rglob("*.vectors.npy")):
        if not path.with_name(path.name.replace(".vectors.", ".digests.")).exists():
            yield Finding(Part.VECTORS, path.relative_to(home.path).as_posix(), "has no digests beside it", remedy)
    if not manifest.model_fingerprint:
        return
    folder = VectorStore.folder_of(home.vectors, manifest.model_fingerprint)
    for path, problem in damaged_segments(folder, manifest.dimension):
        damaged = True
        yield Finding(Part.VECTORS, path.relative_to(home.path).as_posix(), problem, remedy)
    if damaged:
        return
    store = VectorStore(home.vectors, manifest.model_fingerprint, manifest.dimension)
    documents = generation.catalogue.documents()
    positions = store.find(digests(documents.digests))
    present = np.flatnonzero(positions >= 0)
    place = folder.relative_to(home.path).as_posix()
    if len(present) < manifest.embedded:
        problem = f"has the vectors of {len(present):,} texts where {manifest.embedded:,} are indexed"
        yield Finding(Part.VECTORS, place, problem, remedy)
    if not len(present):
        return
    rows = _sample(present, _SAMPLED_TEXTS, manifest.generation)
    keys = documents.keys[rows]
    texts = generation.catalogue.texts(keys)
    anew = encoder(manifest.model_id).encode([embedding_text(*texts[int(key)]) for key in keys])
    apart = int((np.sum(anew * store.take(positions[rows]), axis=1) < _MIN_COSINE).sum())
    if apart:
        problem = f"{apart} of {len(rows)} texts, embedded again, have another vector than the stored one"
        yield Finding(Part.VECTORS, place, problem, f"move {home.vectors} away, then `kb index`: embeds everything anew")


def _indexes(home: Home, generation: Generation) -> Iterator[Finding]:
    """Check that both indexes hold the papers that have a vector, and find what brute force finds."""
    manifest = generation.manifest
    remedy = f"{_REPAIR}: builds the indexes anew from the stored vectors"
    try:
        dense = DenseIndex.open(generation)
        lexical = LexicalIndex.read(generation.subfolder(LEXICAL_FOLDER))
        store = VectorStore(home.vectors, manifest.model_fingerprint, manifest.dimension)
    except (StoreError, ValueError) as error:
        yield Finding(Part.INDEX, f"generations/{generation.name}", f"an index cannot be opened: {error}", remedy)
        return
    documents = generation.catalogue.documents()
    positions = store.find(digests(documents.digests))
    indexed = np.isin(documents.keys, dense.keys())
    place = f"generations/{generation.name}/{DENSE_FILE}"
    if int(indexed.sum()) != len(dense) or len(dense) != manifest.embedded:
        problem = f"holds {len(dense):,} papers, {int(indexed.sum()):,} of them known; {manifest.embedded:,} were indexed"
        yield Finding(Part.INDEX, place, problem, remedy)
    elif (positions[indexed] >= 0).all():
        recall = _recall(dense, store, documents, positions, np.flatnonzero(indexed), manifest.generation)
        if recall < _MIN_RECALL:
            problem = f"finds {recall:.0%} of the {_K} nearest papers that an exact search finds"
            yield Finding(Part.INDEX, place, problem, remedy)
    place = f"generations/{generation.name}/{LEXICAL_FOLDER}"
    try:
        listed = LexicalIndex.indexed_documents(generation.folder / LEXICAL_FOLDER)
    except StoreError:
        yield Finding(Part.INDEX, place, "is of an earlier version; the next job builds it anew", remedy)
        return
    texts = IndexDocuments(generation.catalogue)
    by_key = texts.digests()
    stale = [key for key, digest in zip(listed[0].tolist(), listed[1], strict=True) if digest.tobytes().hex() != by_key.get(key)]
    if len(lexical) != len(listed[0]) or set(listed[0].tolist()) != set(dense.keys().tolist()) or stale:
        problem = f"holds {len(lexical):,} papers, {len(stale):,} of them otherwise than the catalogue has them"
        yield Finding(Part.INDEX, place, problem, remedy)
    else:
        unfound = _unfound_words(lexical, texts, _sample(listed[0], _SAMPLED_PAPERS, manifest.generation))
        if unfound:
            problem = f"does not find {unfound[0][0]!r} in the paper that has it, and {len(unfound) - 1} more words"
            yield Finding(Part.INDEX, place, problem, remedy)


def _recall(
    dense: DenseIndex, store: VectorStore, documents: DocumentBatch, positions: Keys, rows: NDArray[np.intp], seed: int
) -> float:
    """Recall@10 of the index against the exact product with every vector, over a sample of papers."""
    queries = store.take(positions[_sample(rows, _SAMPLED_PAPERS, seed)])
    k = min(_K, len(rows))
    best: Vectors = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        products = queries @ store.take(positions[rows[start : start + _BLOCK_ROWS]]).T
        best = np.sort(np.concatenate([best, products], axis=1), axis=1)[:, -k:]
    found = 0
    for query, exact in zip(queries, best, strict=True):
        keys, _ = dense.search(query[None], k)
        at = np.searchsorted(documents.keys, keys[0])
        # Papers as near as the last of the exact ones are as good: equal texts have equal vectors.
        found += int((store.take(positions[at]) @ query >= exact[0] - 1e-3).sum())
    return found / (len(queries) * k)


def _unfound_words(lexical: LexicalIndex, texts: IndexDocuments, keys: Keys) -> list[tuple[str, int]]:
    """Words of these papers, with the paper's key, for which a search does not find the paper."""
    found: list[tuple[str, int]] = []
    for text in texts.of(keys):
        key = np.asarray([text.key], dtype=np.int64)
        for word in dict.fromkeys(
            f"{normalize_text(text.card.paper.title)} {normalize_text(text.card.paper.abstract or text.notes)}".split()
        ):
            if index_terms(word) and not lexical.scores(word, key)[0] > 0:
                found.append((word, text.key))
    return found


def _lists(library: Library, generation: Generation) -> Iterator[Finding]:
    """Check that the papers of the reading lists are in the catalogue; one that is not can be read there, but not found."""
    for summary in library.lists():
        entries = library.read_list(summary.name).entries
        absent = [e.paper_id for e in entries if generation.catalogue.key_of(e.paper_id) is None]
        at_arxiv = [identifier.removeprefix("arxiv:") for identifier in absent if identifier.startswith("arxiv:")]
        if absent:
            shown = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
            problem = f"{len(absent):,} of {len(entries):,} papers are not in the catalogue: {shown}"
            remedy = f"`kb ingest arxiv {' '.join(f'--id {i}' for i in at_arxiv[:20])}`" if at_arxiv else "`kb ingest notes FILE`"
            yield Finding(Part.LISTS, summary.name, problem, remedy)


def _sample(values: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """A random sample of the values, in their order; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(len(values), min(size, len(values)), replace=False)
    return values[np.sort(chosen)]
