"""The ranker: fit the weights that come along, or measure each stage of the search by held-out judgements.

    python -m bench.ranker train      writes kb/models/ranker/trained/ranker.json
    python -m bench.ranker measure    Markdown: nDCG@10 and R@100 by stage, gains of ranking over the fused score

Learns from citing papers (as examples, and by their titles) and from SciFact's training claims, never from a test split.
Vectors are cached: the first run embeds 34,943 and 5,183 texts.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.marge import Split, citations
from kb.encode.encoder import Encoder
from kb.models.ranker.training import fit
from kb.models.ranker.weights import BUNDLED, FEATURES, RankerWeights
from kb.models.registry import load_encoder
from kb.search.evaluate import JudgedQuery, build_collection, document_ids, evaluate, judged_queries
from kb.search.qrels import Judgements, read_judgements
from kb.search.ranker_training import ranked_queries
from kb.search.retriever import Query
from kb.search.searcher import Searcher

_CITING, _CLAIMS = 400, 300  # queries that are learned from, drawn with a fixed seed
#: A claim has one answer and a title a dozen, whose loss is larger: claims count twice.
_CLAIM_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Material:
    """Where the judgements and the cached vectors lie."""

    shared: Path
    vectors: Path
    encoder: Encoder

    @contextmanager
    def searcher(self, judgements: Judgements) -> Iterator[Searcher]:
        """A searcher over the documents of a judged collection."""
        with TemporaryDirectory() as place:
            home = build_collection(judgements, Path(place) / "kb", self.vectors, self.encoder)
            with Searcher.open(home, self.encoder) as searcher:
                yield searcher

    def citing(self, split: Split) -> Judgements:
        """The citing papers of a split."""
        return citations(self.shared, split)

    def judged(self, name: str, split: str = "test") -> Judgements:
        """A judged collection."""
        return read_judgements(self.shared / "data" / "eval" / name, split, binary=name == "cranfield")


def as_examples(asked: Sequence[JudgedQuery]) -> list[JudgedQuery]:
    """The questions with their own paper as the example."""
    return [replace(judged, query=Query(like=(judged.source,))) for judged in asked if judged.source is not None]


def by_title(asked: Sequence[JudgedQuery], judgements: Judgements) -> list[JudgedQuery]:
    """The questions with the title of their own paper as the query."""
    titles = {document.id: document.title for document in judgements.documents}
    return [replace(judged, query=Query(titles[judged.id])) for judged in asked]


def drawn(asked: Sequence[JudgedQuery], n: int) -> list[JudgedQuery]:
    """Some of the questions, the same ones every time."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(asked))[:n])
    return [asked[number] for number in chosen.tolist()]


def train(material: Material) -> RankerWeights:
    """Fit the weights for phrases and for examples."""
    start = np.zeros(len(FEATURES), dtype=np.float32)
    papers, claims = material.citing("train"), material.judged("scifact", "train")
    with material.searcher(papers) as searcher:
        asked = drawn(judged_queries(papers, searcher.catalogue), _CITING)
        examples = ranked_queries(searcher, as_examples(asked))
        titles = ranked_queries(searcher, by_title(asked, papers))
    with material.searcher(claims) as searcher:
        claimed = ranked_queries(searcher, drawn(judged_queries(claims, searcher.catalogue), _CLAIMS))
    return RankerWeights(fit([(1.0, titles), (_CLAIM_WEIGHT, claimed)], start), fit([(1.0, examples)], start))


def measure(material: Material) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| queries | n | lexical | dense | fused | ranked | gain over fused |\n| --- | --- | --- | --- | --- | --- | --- |"
    papers = material.citing("test")
    with material.searcher(papers) as searcher:
        asked = judged_queries(papers, searcher.catalogue)
        yield from _row("citing papers as examples", searcher, as_examples(asked), papers)
        yield from _row("titles of citing papers", searcher, by_title(asked, papers), papers)
    for name in ("scifact", "cranfield"):
        judgements = material.judged(name)
        with material.searcher(judgements) as searcher:
            yield from _row(name, searcher, judged_queries(judgements, searcher.catalogue), judgements)


def _row(name: str, searcher: Searcher, asked: Sequence[JudgedQuery], judgements: Judgements) -> Iterator[str]:
    found = evaluate(searcher, asked, document_ids(judgements.documents, searcher.catalogue))
    values = [f"{means['nDCG@10']:.3f} / {means['R@100']:.3f}" for means in map(found.means, found.values)]
    gains = [found.gain("reranked", "fused", measure) for measure in ("nDCG@10", "R@100")]
    told = " / ".join(f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]" for gain in gains)
    yield f"| {name} | {found.queries} | {' | '.join(values)} | {told} |"


def main() -> int:
    """Run the part that the command line names."""
    parser = ArgumentParser(prog="python -m bench.ranker", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "measure"))
    part = parser.parse_args().part
    shared = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    vectors = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb" / "vectors"
    material = Material(shared, vectors, load_encoder())
    if part == "train":
        learned = {"citing papers": _CITING, "their titles": _CITING, "training claims of SciFact": _CLAIMS}
        train(material).write(BUNDLED, {"learned from": learned})
        return 0
    for line in measure(material):
        print(line, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
