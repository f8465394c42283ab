"""Recommendations against ranking by date and by popularity: the later half of a reading list, left out and sought.

A list is what a paper cites. Its earlier half, by date, is the list; the later half is to be found among all papers
published after the list's last one and before the month of the citing paper. Popularity is the number of other papers of
the sample, older than the citing paper, that cite a paper: citations that the knowledge base itself does not have.

    python -m bench.recommend KB_HOME CITATIONS_FOLDER [LISTS]
"""

from __future__ import annotations

import gzip
import random
import sys
from collections import Counter, defaultdict
from datetime import date, timedelta
from functools import cache
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from kb.identifiers import ArxivId
from kb.recommend import recommend
from kb.search import MAX_K, Searcher
from kb.store import Catalogue, Home
from kb.store.trends import Trends

_SMALLEST = 12  # papers of a list that are in the knowledge base
_DEPTH = 50


def main(home: Path, citations: Path, count: int) -> None:
    """Prints recall at 50 of each ranking, the mean over the lists and its standard error."""
    cited = _citations(citations)
    months = {citing: _month(citing) for citing in cited}
    recalls: dict[str, list[float]] = defaultdict(list)
    citing_papers = sorted(cited)
    random.Random(0).shuffle(citing_papers)
    with Searcher.open(Home(home)) as searcher:
        catalogue, trends = searcher.catalogue, Trends(searcher.catalogue)
        key_of = cache(catalogue.key_of)
        for citing in citing_papers:
            if len(recalls["the list"]) == count:
                break
            keys = [key for target in sorted(cited[citing]) if (key := key_of(target)) is not None]
            known = sorted(catalogue.papers(keys).items(), key=lambda row: (str(row[1].published), row[0]))
            liked = known[: len(known) // 2]
            if len(known) < _SMALLEST or (start := liked[-1][1].published) is None:
                continue
            pool = set(trends.published(start, months[citing]).tolist()) - {key for key, _ in liked}
            hidden = {key for key, _ in known[len(liked) :]} & pool
            if not hidden:
                continue
            counts = Counter(t for other in cited if months[other] < months[citing] for t in cited[other])
            popular = sorted(counts, key=lambda target: (-counts[target], target))[: 40 * _DEPTH]
            answers = recommend(searcher, [paper.id for _, paper in liked], since=start, k=MAX_K)
            rankings = {
                "the list": [key_of(answer.hit.paper.id) for answer in answers],
                "popularity": [key_of(target) for target in popular],
                "date": _newest(catalogue, trends, months[citing]),
            }
            for name, ranking in rankings.items():
                found = [key for key in ranking if key in pool][:_DEPTH]
                recalls[name].append(len(hidden & set(found)) / len(hidden))
    for name, values in recalls.items():
        error = stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
        sys.stdout.write(f"recall@{_DEPTH} by {name}: {mean(values):.3f} ± {error:.3f} over {len(values)} lists\n")


def _citations(folder: Path) -> dict[str, list[str]]:
    """Canonical ids of the arXiv papers that each arXiv paper cites."""
    cited: dict[str, list[str]] = defaultdict(list)
    with gzip.open(folder / "pairs.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file.readlines()[1:]:
            citing, target = line.split()
            if citing.startswith("ax:") and target.startswith("ax:"):
                cited[citing.removeprefix("ax:")].append(f"arxiv:{target.removeprefix('ax:')}")
    return cited


def _month(identifier: str) -> date:
    parsed = ArxivId.parse(identifier)
    return date(parsed.year, int(parsed.identifier.rpartition("/")[2][2:4]), 1)


def _newest(catalogue: Catalogue, trends: Trends, end: date) -> list[int]:
    papers = catalogue.papers(trends.published(end - timedelta(days=5), end).tolist())
    return sorted(papers, key=lambda key: (papers[key].published, key), reverse=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 50)
