"""Token ids and last hidden states of a frozen BERT encoder: the decoder's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertModel
from transformers.utils import logging

from kb.encode.bert_numpy import Bert, Tokens, UnsupportedArchitecture
from kb.errors import ModelError


class TokenStates:
    """A frozen BERT encoder without dropout."""

    def __init__(self, folder: Path) -> None:
        """Load the encoder, on the GPU if there is one. Raises ModelError if the folder holds another architecture."""
        try:
            self._tokens = Bert(folder)
        except UnsupportedArchitecture as error:
            raise ModelError(f"{error} A model of this kind needs BERT's tokens: unset KB_MODEL.") from error
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model: Any = BertModel.from_pretrained(folder, dtype=torch.bfloat16, add_pooling_layer=False)
        self._model = model.to(self.device).eval()
        self.words = torch.from_numpy(self._tokens.word_embeddings)
        """Word embeddings, shape (tokens, d)."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text with special tokens, truncated at the encoder's limit."""
        return self._tokens.tokenize(texts)

    @torch.inference_mode()
    def hidden_states(self, texts: Sequence[Tokens]) -> Tensor:
        """Last hidden states of the tokens of all texts, concatenated, shape (tokens of all texts, d), bfloat16."""
        lengths = torch.tensor([len(tokens) for tokens in texts])
        padded = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
        mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
        padded[mask] = torch.from_numpy(np.concatenate(texts))
        mask, padded = mask.to(self.device), padded.to(self.device)
        states: Tensor = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
        return states[mask]

    def vectors(self, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        """Unit vectors of n texts, shape (n, d): the means of their hidden states."""
        parts = torch.split(self.hidden_states(texts).float(), [len(tokens) for tokens in texts])
        means = torch.stack([part.mean(dim=0) for part in parts])
        return np.asarray(torch.nn.functional.normalize(means, dim=-1).cpu().numpy(), dtype=np.float32)
