"""Mines pairs of target and evidence papers, and groups them into training batches."""

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

_EXTRA_NEIGHBOURS = 8  # retrieved beyond those asked for, since duplicates are left out
#: Row numbers of the corpus or a shard, shape (n,).
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a target and an evidence paper, sorted by target and descending relevance."""

    target: Rows
    """Corpus rows of the targets, shape (pairs,)."""
    evidence: Rows
    """Corpus rows of the evidence, shape (pairs,)."""

    def by_target(self) -> dict[int, list[int]]:
        """Evidence rows by target row, the most relevant first."""
        found: dict[int, list[int]] = {}
        for target, evidence in zip(self.target.tolist(), self.evidence.tolist(), strict=True):
            found.setdefault(target, []).append(evidence)
        return found


def mine_pairs(
    vectors: Vectors,
    original: Vectors,
    shards: Sequence[Rows],
    neighbours: int,
    pairs_per_paper: int,
    cluster: Cluster | None = None,
) -> Pairs:
    """Find the best pairs of each shard by exact cosines of `vectors`.

    Among the `neighbours` nearest of each paper in its shard, the best `pairs_per_paper` times its size are kept over the whole
    shard, so that a paper may get none. Papers whose `original` vectors are near-duplicates are no evidence for each other.
    `vectors`, of the current retriever, and `original`, of the encoder, have shape (n, d). A cluster mines shards in parallel.
    Source: MARGE (Lewis et al. 2020), section on batching.
    """
    shards = [shard for shard in shards if len(shard) > 1]
    mine_shard = partial(_mine_shard, neighbours=neighbours, pairs_per_paper=pairs_per_paper)
    parts = ((vectors[shard], original[shard]) for shard in shards)
    found = cluster.map(mine_shard, parts) if cluster else map(mine_shard, parts)
    pairs = [(shard[target], shard[evidence]) for shard, (target, evidence) in zip(shards, found, strict=True)]
    if not pairs:
        return Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Pairs(np.concatenate([target for target, _ in pairs]), np.concatenate([evidence for _, evidence in pairs]))


def _mine_shard(part: tuple[Vectors, Vectors], neighbours: int, pairs_per_paper: int) -> tuple[Rows, Rows]:
    """Target and evidence rows within a shard, both of shape (pairs,). `part` holds its vectors and original vectors."""
    scores, near, usable = _nearest(part, neighbours)
    own = np.repeat(np.arange(len(near)), near.shape[1]).reshape(near.shape)
    score, target, found = scores[usable], own[usable], near[usable]
    best = np.argsort(-score, kind="stable")[: pairs_per_paper * len(near)]
    best = best[np.lexsort((-score[best], target[best]))]
    return target[best], found[best]


def _nearest(part: tuple[Vectors, Vectors], wanted: int) -> tuple[Vectors, Rows, NDArray[np.bool_]]:
    """Cosines to the nearest papers of each paper, their rows in the shard, and a mask of the `wanted` nearest ones.

    The mask leaves out the paper itself and its near-duplicates. All have shape (n, k).
    """
    vectors, original = part
    # Run FAISS on one thread: OpenMP busy-waiting costs more than it saves on a busy machine.
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    scores, near = index.search(np.ascontiguousarray(vectors), min(wanted + _EXTRA_NEIGHBOURS, len(vectors)))
    usable = (near != np.arange(len(vectors))[:, None]) & (_cosines(original, near) < NEAR_DUPLICATE)
    usable &= np.cumsum(usable, axis=1) <= wanted
    return scores, near, usable


def _cosines(vectors: Vectors, near: Rows) -> Vectors:
    """Cosines of each row to its neighbours, shape (n, k); `near` holds their rows, shape (n, k)."""
    return np.stack([np.einsum("nd,nd->n", vectors, vectors[column]) for column in near.T], axis=1)


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Corpus rows of one batch."""

    targets: list[int]
    evidence: list[int]
    """Evidence papers, shared by all targets."""


def group_batches(
    pairs: Pairs, targets: int, evidence: int, targets_per_seed: int, random: np.random.Generator
) -> Iterator[BatchRows]:
    """Group all targets into batches of at most `targets` that share at most `evidence` papers, each target in one batch.

    A batch grows from a random seed target by targets that share evidence with it, up to `targets_per_seed`, then from another
    seed. So each target sees evidence that is near and evidence that is distant.
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
        while queue and taken < targets_per_seed:
            target = queue.pop(0)
            if target in done:
                continue
            papers = known[target]
            if chosen and len(pool.keys() | set(papers)) > evidence:
                if target == seed:
                    yield BatchRows(chosen, list(pool))
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
                yield BatchRows(chosen, list(pool))
                chosen, pool, queue = [], {}, []
    if chosen:
        yield BatchRows(chosen, list(pool))
