"""The MARGE model as a reranker: how much a candidate raises the likelihood of the query."""

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
from kb.search.rerank import Reranker
from kb.search.retriever import Candidates, Query, Texts, z_scores

_DEPTH = 30  # candidates that are scored
_BATCH_SIZE = 10  # candidates a forward pass: attention to the tokens of the other candidates is masked, at some cost
# Chosen on SciFact's training claims, which are worse with larger weights, and on citing papers as examples, best at 0.1.
_WEIGHT = 0.05
_EXAMPLE_WEIGHT = 0.1


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Run torch on the calling thread: OpenMP busy-waiting costs more than a second thread saves at this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class MargeReranker:
    """Adds the z-score of the information gain of the best thirty candidates to the score of a base reranker."""

    depth = 1 << 30

    def __init__(self, base: Reranker | None, folder: Path, encoder: Path, texts: Texts) -> None:
        """Load the model.

        `folder` holds the trained model, `encoder` the encoder that it was trained over. Raises ModelError if either cannot be
        loaded.
        """
        self._base = base
        self._states = TokenStates(encoder)
        self._model = read_model(folder, self._states.words).to(self._states.device)
        self._texts = texts

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank. The gain is averaged over the query's text and the texts of its examples."""
        scores = candidates.fused if self._base is None else self._base.rerank(query, candidates)
        best = np.argsort(-scores, kind="stable")[:_DEPTH]
        keys = candidates.keys[best].tolist()
        texts = self._texts([*query.like, *keys])
        query_texts = [text for text in (query.text, *(texts[key] for key in query.like if key in texts)) if text]
        if len(best) < 2 or not query_texts:
            return scores
        gains = np.mean([z_scores(self.information_gain(text, [texts[key] for key in keys])) for text in query_texts], axis=0)
        out = scores.copy()
        out[best] += (_EXAMPLE_WEIGHT if query.like else _WEIGHT) * gains
        # The others keep their order, below these.
        rest = np.setdiff1d(np.arange(len(scores)), best)
        if len(rest):
            out[rest] += min(0.0, float(out[best].min() - scores[rest].max()))
        return np.asarray(out, dtype=np.float32)

    @single_threaded_torch()
    def information_gain(self, text: str, candidates: Sequence[str]) -> Vectors:
        """Mean over the tokens of text x of log p(x | z) − log p(x) for each of n candidates z, in nats per token, shape (n,)."""
        shape = self._model.sizes
        target, *evidence = self._states.tokenize([text, *candidates])
        target = target[: shape.target_tokens]
        evidence = [tokens[: shape.evidence_tokens] for tokens in evidence]
        batches = [
            self._log_likelihood(target, evidence[start : start + _BATCH_SIZE]) for start in range(0, len(evidence), _BATCH_SIZE)
        ]
        return np.concatenate([conditional - unconditional for conditional, unconditional in batches])

    @torch.inference_mode()
    def _log_likelihood(self, target: Tokens, evidence: Sequence[Tokens]) -> tuple[Vectors, np.float32]:
        """Mean log p(x | z) of each of n evidence papers z alone, shape (n,), and log p(x) without evidence."""
        states = self._states.hidden_states([target, *evidence])
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
            torch.eye(number + 1, number, dtype=torch.bool, device=device),  # the last row has no evidence
        )
        with torch.autocast(device.type, dtype=torch.bfloat16):
            found, counts = self._model.log_likelihood(batch, self._model.relevance(batch))
        means = (found.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).float().cpu().numpy()
        return np.asarray(means[:-1], dtype=np.float32), means[-1]
