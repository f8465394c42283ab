"""Which papers are evidence for which: the best pairs of every shard, and batches grown from their graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch  # noqa: F401  isort: skip  (loaded before faiss: on macOS the other order crashes)
import faiss
import numpy as np
from numpy.typing import NDArray

from kb.cluster import Cluster
from kb.encode.encoder import Vectors
from kb.index.dense import NEAR_DUPLICATE

_SPARE = 8  # neighbours looked at beyond those asked for, in case some are duplicates
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Targets and their evidence as rows of the corpus, each of shape (pairs,), ordered by target, the best evidence first."""

    target: Rows
    evidence: Rows

    def by_target(self) -> dict[int, list[int]]:
        """Evidence of every target that has any."""
        found: dict[int, list[int]] = {}
        for target, evidence in zip(self.target.tolist(), self.evidence.tolist(), strict=True):
            found.setdefault(target, []).append(evidence)
        return found


def mine(
    vectors: Vectors,
    start: Vectors,
    shards: Sequence[Rows],
    neighbours: int,
    kept: int,
    cluster: Cluster | None = None,
) -> Pairs:
    """The best pairs of every shard by the cosine of `vectors`, scored exactly; `vectors` and `start` of shape (n, d).

    As in the section on batching of MARGE (Lewis et al. 2020): of each paper's nearest in its shard, `kept` times as many pairs
    as papers remain, the best *over the shard*. A paper that has none among them waits. Near-duplicates by the `start`, which
    does not move, are no evidence. A cluster mines the shards side by side.
    """
    shards = [shard for shard in shards if len(shard) > 1]
    mine_shard = partial(_mine_shard, neighbours=neighbours, kept=kept)
    parts = ((vectors[shard], start[shard]) for shard in shards)
    found = cluster.map(mine_shard, parts) if cluster else map(mine_shard, parts)
    pairs = [(shard[target], shard[evidence]) for shard, (target, evidence) in zip(shards, found, strict=True)]
    if not pairs:
        return Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Pairs(np.concatenate([target for target, _ in pairs]), np.concatenate([evidence for _, evidence in pairs]))


def _mine_shard(part: tuple[Vectors, Vectors], neighbours: int, kept: int) -> tuple[Rows, Rows]:
    """Targets and their evidence, as rows of the shard whose vectors, and vectors at the start, these are."""
    scores, near, usable = _nearest(part, neighbours)
    own = np.repeat(np.arange(len(near)), near.shape[1]).reshape(near.shape)
    score, target, found = scores[usable], own[usable], near[usable]
    best = np.argsort(-score, kind="stable")[: kept * len(near)]
    best = best[np.lexsort((-score[best], target[best]))]
    return target[best], found[best]


def _nearest(part: tuple[Vectors, Vectors], wanted: int) -> tuple[Vectors, Rows, NDArray[np.bool_]]:
    """Cosines to the nearest papers, those papers as rows of the shard, and which of them are the `wanted` nearest that are
    neither a paper itself nor its near-duplicates; all of shape (n, k)."""
    vectors, start = part
    # Over all cores the scan waits for its slowest thread, as any product does on a busy machine.
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    scores, near = index.search(np.ascontiguousarray(vectors), min(wanted + _SPARE, len(vectors)))
    usable = (near != np.arange(len(vectors))[:, None]) & (_cosines(start, near) < NEAR_DUPLICATE)
    usable &= np.cumsum(usable, axis=1) <= wanted
    return scores, near, usable


def _cosines(vectors: Vectors, near: Rows) -> Vectors:
    """Cosine of every row to its neighbours, shape (n, k), a column at a time."""
    return np.stack([np.einsum("nd,nd->n", vectors, vectors[column]) for column in near.T], axis=1)


@dataclass(frozen=True, slots=True)
class Group:
    """The papers of one batch, as rows of the corpus."""

    targets: list[int]
    evidence: list[int]


def grow(pairs: Pairs, targets: int, evidence: int, cluster: int, random: np.random.Generator) -> Iterator[Group]:
    """Batches of at most so many targets that share at most so much evidence, each target in one of them.

    From a seed the batch takes in the targets that share evidence with those it has, `cluster` of them, then begins at another
    seed: what is near for one target is far for another, so that relevance is spread wide.
    """
    known = pairs.by_target()
    readers: dict[int, list[int]] = {}
    for target, papers in known.items():
        for paper in papers:
            readers.setdefault(paper, []).append(target)
    waiting = random.permutation(np.asarray(list(known), dtype=np.int64)).tolist()
    done: set[int] = set()
    chosen: list[int] = []
    pool: dict[int, None] = {}
    for seed in waiting:
        queue = [seed]
        taken = 0
        while queue and taken < cluster:
            target = queue.pop(0)
            if target in done:
                continue
            papers = known[target]
            if chosen and len(pool.keys() | set(papers)) > evidence:
                if target == seed:
                    yield Group(chosen, list(pool))
                    chosen, pool = [], {}
                else:
                    continue
            done.add(target)
            chosen.append(target)
            pool.update(dict.fromkeys(papers[:evidence]))
            taken += 1
            near = [t for paper in papers for t in (paper, *readers[paper]) if t in known and t not in done]
            queue += list(dict.fromkeys(near))
            if len(chosen) == targets:
                yield Group(chosen, list(pool))
                chosen, pool, queue = [], {}, []
    if chosen:
        yield Group(chosen, list(pool))
