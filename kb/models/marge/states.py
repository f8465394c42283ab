"""The encoder's tokens and the state of each: what the decoder reads."""

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
    """A BERT model as it is: frozen, without dropout, token by token."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError where the folder holds no model of that architecture."""
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

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of every text, the special ones included, cut at the encoder's limit."""
        return self._tokens.tokenize(texts)

    @torch.inference_mode()
    def of(self, texts: Sequence[Tokens]) -> Tensor:
        """State of every token of these texts, one text after the other, shape (sum of their tokens, d), in bfloat16."""
        lengths = torch.tensor([len(tokens) for tokens in texts])
        padded = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
        mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
        padded[mask] = torch.from_numpy(np.concatenate(texts))
        mask, padded = mask.to(self.device), padded.to(self.device)
        states: Tensor = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
        return states[mask]

    def vectors(self, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        """The unit vectors of these texts, shape (n, d): the mean of their tokens' states."""
        parts = torch.split(self.of(texts).float(), [len(tokens) for tokens in texts])
        means = torch.stack([part.mean(dim=0) for part in parts])
        return np.asarray(torch.nn.functional.normalize(means, dim=-1).cpu().numpy(), dtype=np.float32)
