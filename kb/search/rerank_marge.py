"""The trained model as a reranker: how much a candidate helps to write the query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from kb.encode.bert_numpy import Tokens
from kb.encode.encoder import Vectors
from kb.models.marge.model import Batch
from kb.models.marge.states import TokenStates
from kb.models.marge.weights import read_model
from kb.search.rerank import Reranker, Texts
from kb.search.retriever import Candidates, Query, standardised

_READ = 30  # candidates that are read
_SIDE_BY_SIDE = 10  # of them at a time: a target could read the others' tokens too, and is kept from it at some cost
# Chosen on SciFact's training claims, which larger weights make worse, and on citing papers as examples, which gain at 0.1.
_WEIGHT = 0.05
_WEIGHT_OF_EXAMPLES = 0.1


@contextmanager
def one_thread() -> Iterator[None]:
    """torch with the calling thread alone: products of this size gain nothing from a second one, which waits by counting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class MargeReranker:
    """Adds to another reranker's score how well the best candidates explain the query, or the examples, as a text."""

    depth = 1 << 30

    def __init__(self, before: Reranker | None, folder: Path, encoder: Path, texts: Texts) -> None:
        """`folder` holds the trained model, `encoder` the one that it was trained over. Raises ModelError for what is not."""
        self._before = before
        self._states = TokenStates(encoder)
        self._model = read_model(folder, self._states.words).to(self._states.device)
        self._texts = texts

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank. Of the best thirty the score is that of the other reranker and, standardised, the model's."""
        scores = candidates.fused if self._before is None else self._before.rerank(query, candidates)
        best = np.argsort(-scores, kind="stable")[:_READ]
        keys = candidates.keys[best].tolist()
        texts = self._texts([*query.like, *keys])
        asked = [text for text in (query.text, *(texts[key] for key in query.like if key in texts)) if text]
        if len(best) < 2 or not asked:
            return scores
        gains = np.mean([standardised(self.gains(text, [texts[key] for key in keys])) for text in asked], axis=0)
        found = scores.copy()
        found[best] += (_WEIGHT_OF_EXAMPLES if query.like else _WEIGHT) * gains
        # The others stay behind, in their order.
        rest = np.setdiff1d(np.arange(len(scores)), best)
        if len(rest):
            found[rest] += min(0.0, float(found[best].min() - scores[rest].max()))
        return np.asarray(found, dtype=np.float32)

    @one_thread()
    def gains(self, text: str, candidates: Sequence[str]) -> Vectors:
        """Mean over the text's tokens of log p(x | z) − log p(x) for every candidate z, in nats, shape (n,)."""
        shape = self._model.shape
        target, *evidence = self._states.tokenize([text, *candidates])
        target = target[: shape.target_tokens]
        evidence = [tokens[: shape.evidence_tokens] for tokens in evidence]
        found = [
            self._likelihood(target, evidence[start : start + _SIDE_BY_SIDE]) for start in range(0, len(evidence), _SIDE_BY_SIDE)
        ]
        return np.concatenate([with_it - without for with_it, without in found])

    @torch.inference_mode()
    def _likelihood(self, target: Tokens, evidence: Sequence[Tokens]) -> tuple[Vectors, np.float32]:
        """Mean log p(x | z) for every z by itself, shape (n,), and of log p(x) with none."""
        states = self._states.of([target, *evidence])
        lengths = [len(tokens) for tokens in (target, *evidence)]
        vectors = torch.stack([part.mean(dim=0) for part in torch.split(states.float(), lengths)])
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        number = len(evidence)
        device = states.device
        batch = Batch(
            torch.from_numpy(target).to(device).expand(number + 1, -1),
            vectors[:1].expand(number + 1, -1),
            torch.from_numpy(np.concatenate(evidence)).to(device),
            states[lengths[0] :],
            torch.repeat_interleave(torch.arange(number, device=device), torch.tensor(lengths[1:], device=device)),
            vectors[1:],
            torch.eye(number + 1, number, dtype=torch.bool, device=device),  # the last row reads none
        )
        with torch.autocast(device.type, dtype=torch.bfloat16):
            found, counts = self._model.log_likelihood(batch, self._model.relevance(batch))
        means = (found.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).float().cpu().numpy()
        return np.asarray(means[:-1], dtype=np.float32), means[-1]
