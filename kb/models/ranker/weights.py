"""The ranker's weights and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kb.errors import ModelError
from kb.files import replace_file

#: What the ranker knows of a candidate, each as a z-score over the candidates; in the order of a weight vector.
#: dense: cosine to the query; lexical: BM25; feedback: cosine to the centroid of the best candidates; neighbours: mean score
#: before ranking of the candidates nearest to it; hubness: mean cosine to all candidates.
FEATURES = ("dense", "lexical", "feedback", "neighbours", "hubness")
BUNDLED = Path(__file__).parent / "trained" / "ranker.json"
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankerWeights:
    """Weight vectors, each of shape (features,)."""

    phrase: Weights
    """For a phrase or a question."""
    example: Weights
    """For examples, or a text as long as an abstract."""

    @classmethod
    def read(cls, path: Path = BUNDLED) -> RankerWeights:
        """Read the file. Raises ModelError if it cannot be read or lacks a weight."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(_vector(stored["phrase"]), _vector(stored["example"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is not a ranker ({error}). Train it again: `kb train ranker`.") from error

    @classmethod
    def for_home(cls, home: Path) -> RankerWeights:
        """The weights learned in this knowledge base's folder, else those that come along. Raises ModelError as `read` does."""
        own = cls.file(home)
        return cls.read(own if own.is_file() else BUNDLED)

    @staticmethod
    def file(home: Path) -> Path:
        """Where `kb train ranker` keeps the weights of a knowledge base."""
        return home / "ranker.json"

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the file, with what the weights were trained on."""
        kinds = {"phrase": self.phrase, "example": self.example}
        named = {
            kind: dict(zip(FEATURES, (round(float(weight), 4) for weight in vector), strict=True))
            for kind, vector in kinds.items()
        }
        replace_file(path, (json.dumps(named | dict(facts), indent=1, ensure_ascii=False) + "\n").encode())


def _vector(weights: Mapping[str, float]) -> Weights:
    return np.asarray([float(weights[feature]) for feature in FEATURES], dtype=np.float32)
