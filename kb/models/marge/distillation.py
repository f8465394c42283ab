"""Retriever against ranker: the one brings papers near a target that are not its evidence, the other learns to tell them from it,
and what it judges is taught to the first.

After Zhang et al. 2022, Adversarial Retriever-Ranker for dense text retrieval (arXiv 2110.03611), cited here as AR2. The ranker
is the decoder, which scores a paper z by log p(x | z) of the target x. Of AR2's retriever the distillation regularisation is what
is learned; its adversarial term, a reward for what misleads the ranker, has its place taken by mining the negatives anew.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from kb.models.marge.model import Batch, Marge


def judged(model: Marge, candidates: Batch) -> tuple[Tensor, Tensor]:
    """Score and relevance of every paper of a batch of one target, each of shape (M,).

    The score is the mean over the target's tokens of log p(x | z) for that paper alone. Its gradient reaches the ranker only:
    the f within it is held still. That of the relevance f(x, z) reaches the retriever.
    """
    papers = len(candidates.evidence_vectors)
    relevance = model.relevance(candidates)
    alone = replace(
        candidates,
        targets=candidates.targets.expand(papers, -1),
        target_vectors=candidates.target_vectors.expand(papers, -1),
        allowed=torch.eye(papers, dtype=torch.bool, device=relevance.device),
    )
    with torch.autocast(relevance.device.type, dtype=torch.bfloat16):
        likelihood, counts = model.log_likelihood(alone, relevance.detach().expand(papers, -1))
    return likelihood.sum(dim=1) / counts.sum(dim=1).clamp(min=1), relevance[0]


def contest(scores: Tensor, relevance: Tensor, temperature: float, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of the ranker and of the retriever over the evidence, which comes first, and its hard negatives.

    With p_φ = softmax(scores / temperature) and p_θ = softmax(β f), both over the same set: −log p_φ(evidence), which AR2's
    ranker descends on, and KL(p_φ ‖ p_θ), AR2's distillation regularisation, for which the ranker is held still.
    """
    ranker = functional.log_softmax(scores / temperature, dim=0)
    retriever = functional.log_softmax(beta.detach() * relevance, dim=0)
    return -ranker[0], functional.kl_div(retriever, ranker.detach(), reduction="sum", log_target=True)
