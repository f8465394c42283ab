"""Recommendations for a reading list, beside rankings by date and by popularity.

    python -m bench.recommend KB_HOME CITATIONS_FOLDER [LISTS]

A reading list is the earlier half, by date, of what a paper cites. Its later half is to be found among all papers that were
published after the last paper of the list and before the month of the citing paper. Popularity is the number of citations by
older papers of the sample; the knowledge base itself holds no citations. The number of candidates is printed with the figures.
"""

from __future__ import annotations

import gzip
import random
import sys
from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path
from statistics import mean, median

import numpy as np

from kb.identifiers import ArxivId
from kb.library.recommend import recommend
from kb.search.evaluate import paired_bootstrap
from kb.search.searcher import Searcher
from kb.store import Catalogue, Home
from kb.store.monthly import MonthlyCounts

_MIN_LIST_LENGTH = 12  # papers of a list that are in the knowledge base
_DEPTHS = (50, 200)
_RECOMMENDATIONS = 4000  # for a list, including those from the citing paper's month on, which are left out


def main(home: Path, citations: Path, count: int) -> None:
    """Print mean recall@50 and recall@200 of each ranking, and the product's gain over the other rankings."""
    cited = _citations(citations)
    months = {citing: _month(citing) for citing in cited}
    recalls: dict[tuple[int, str], list[float]] = defaultdict(list)
    sizes: list[int] = []
    citing_papers = sorted(cited)
    random.Random(0).shuffle(citing_papers)
    with Searcher.open(Home(home)) as searcher:
        catalogue, trends = searcher.catalogue, MonthlyCounts(searcher.catalogue)
        key_of = {identifier: key for key, identifier in catalogue.identifiers().items()}
        for citing in citing_papers:
            if len(sizes) == count:
                break
            keys = [key_of[target] for target in sorted(cited[citing]) if target in key_of]
            if len(keys) < _MIN_LIST_LENGTH:
                continue
            known = sorted(catalogue.papers(keys).items(), key=lambda row: (str(row[1].published), row[0]))
            liked = known[: len(known) // 2]
            if (start := liked[-1][1].published) is None:
                continue
            pool = set(trends.published(start, months[citing]).tolist()) - {key for key, _ in liked}
            hidden = {key for key, _ in known[len(liked) :]} & pool
            if not hidden:
                continue
            sizes.append(len(pool))
            counts = Counter(t for other in cited if months[other] < months[citing] for t in cited[other])
            popular = sorted(counts, key=lambda target: (-counts[target], target))
            answers = recommend(searcher, [paper.id for _, paper in liked], since=start, k=_RECOMMENDATIONS)
            rankings = {
                "the list": [key_of[answer.hit.paper.id] for answer in answers],
                "popularity": [key_of[target] for target in popular if target in key_of],
                "date": _newest(catalogue, trends, months[citing]),
            }
            for name, ranking in rankings.items():
                found = [key for key in ranking if key in pool]
                for depth in _DEPTHS:
                    recalls[depth, name].append(len(hidden & set(found[:depth])) / len(hidden))
    sys.stdout.write(f"{len(sizes)} lists, each among {min(sizes)} to {max(sizes)} papers ({median(sizes):.0f} in the middle)\n")
    for (depth, name), values in recalls.items():
        better = paired_bootstrap(np.asarray(recalls[depth, "the list"]) - np.asarray(values))
        against = f", the list {better.mean:+.3f} [{better.low:+.3f}, {better.high:+.3f}]" if name != "the list" else ""
        sys.stdout.write(f"recall@{depth} by {name}: {mean(values):.3f}{against}\n")


def _citations(folder: Path) -> dict[str, list[str]]:
    """Canonical ids of cited arXiv papers by the id of the citing one."""
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


def _newest(catalogue: Catalogue, trends: MonthlyCounts, end: date) -> list[int]:
    papers = catalogue.papers(trends.published(end - timedelta(days=31), end).tolist())
    return sorted(papers, key=lambda key: (papers[key].published, key), reverse=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 50)
