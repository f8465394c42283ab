"""The MARGE-style model: trained, then measured on citations of held-out papers, part by part."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Literal

from kb.judgements import Document, Judgements, Qrels

Split = Literal["train", "dev", "test"]


def split_of(paper: str) -> Split:
    """To which part a citing paper belongs: a tenth each is kept for development and for the test."""
    lot = hashlib.sha256(paper.encode()).digest()[0] % 10
    return "test" if lot == 0 else "dev" if lot == 1 else "train"


def citations(shared: Path, split: Split) -> Judgements:
    """The citing papers of a part as queries, what they cite as answers, over all papers of the collection."""
    folder = shared / "data" / "citations"
    with gzip.open(folder / "papers.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = {row["id"]: Document(row["id"], row["title"], row["abstract"] or "") for row in rows}
    qrels: Qrels = {}
    with gzip.open(folder / "pairs.tsv.gz", "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            citing, cited = row["citing"], row["cited"]
            if citing in documents and cited in documents and citing != cited and split_of(citing) == split:
                qrels.setdefault(citing, {})[cited] = 1
    queries = {query: f"{documents[query].title}. {documents[query].text}" for query in qrels}
    return Judgements(f"citations-{split}", tuple(documents.values()), queries, qrels)
