"""Trains a MARGE model on a knowledge base or a snapshot, and installs it if it is better than the models there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ingest.jobs.run import run_index, run_snapshot
from kb.api.results import MargeTraining
from kb.cluster import Cluster, cluster_at
from kb.encode.encoder import Encoder
from kb.models.marge.corpus import Corpus, read_corpus
from kb.models.marge.encoder import MargeEncoder, RelevanceModel
from kb.models.marge.quality import Adapt, HalfAbstracts, compare
from kb.models.marge.states import TokenStates
from kb.models.marge.training import CHECKPOINT, PRESETS, Training, TrainingConfig
from kb.models.marge.weights import METADATA_FILE, read_model, write_model
from kb.models.registry import DEFAULT_MODEL, default_model_folder, load_encoder, marge_model_folder, relevance_model_folder
from kb.progress import Progress
from kb.search.searcher import Searcher
from kb.store import Home


def train_marge(
    home: Home,
    file: Path | None,
    preset: str,
    steps: int | None,
    begin: str | None,
    ray: str,
    progress: Progress,
) -> MargeTraining:
    """Train on the papers of `home`, or of a snapshot `file`, and install the model if it is better.

    Raises ModelError if the model to begin with was trained over another encoder, and StoreError if there are no papers.
    """
    config = PRESETS[preset]
    config = replace(config, steps=steps or config.steps)
    models = home.path / "models"
    work, installed = models / f"training-{preset}", models / "marge"
    encoder = load_encoder(DEFAULT_MODEL)
    start = marge_model_folder(begin) if begin else None
    if start:
        MargeEncoder(encoder, start, str(begin))  # raises if it was trained over another encoder
    baselines = _baselines(encoder, start, installed)
    with cluster_at(ray) as cluster:
        source = home if file is None else _import(file, Home(work / "papers"), encoder, progress, cluster)
        corpus = _corpus(source, encoder)
        progress.start("Embedding held-out halves", 2 * len(corpus.held_out), "texts")
        halves = HalfAbstracts(corpus, encoder, progress.advance)
        training = _train(corpus, halves, config, work, start, cluster, progress)
    found = compare(halves, training.adapt, baselines)
    if found.better:
        write_model(installed, training.model, encoder.fingerprint, found.mix)
    (work / CHECKPOINT).unlink()  # the next run begins anew
    return MargeTraining(found, installed if found.better else None, work, training.log)


def _baselines(encoder: Encoder, start: Path | None, installed: Path) -> Mapping[str, Adapt]:
    """The models that the new one has to surpass, by what they are."""
    folders = {relevance_model_folder(): "the model by which papers are compared now"}
    if start:
        folders[start] = "the model that it began with"
    if (installed / METADATA_FILE).is_file():
        folders[installed] = f"the model in {installed}"
    return {name: RelevanceModel.read(folder, encoder.fingerprint).adapt for folder, name in folders.items()}


def _import(file: Path, home: Home, encoder: Encoder, progress: Progress, cluster: Cluster | None) -> Home:
    """A knowledge base of the snapshot's papers, indexed."""
    run_snapshot(home, [file], progress=progress)
    run_index(home, encoder, progress, cluster)
    return home


def _corpus(source: Home, encoder: Encoder) -> Corpus:
    with Searcher.open(source, encoder) as searcher:
        index = searcher.index
        searcher.encoder()  # raises if the index was built with another model
        return read_corpus(searcher.catalogue, index)


def _train(
    corpus: Corpus,
    halves: HalfAbstracts,
    config: TrainingConfig,
    work: Path,
    start: Path | None,
    cluster: Cluster | None,
    progress: Progress,
) -> Training:
    states = TokenStates(default_model_folder())
    model = read_model(start, states.words) if start else None
    training = Training(corpus, states, config, work, model, cluster)
    training.run(lambda adapt: {"MRR of halves": halves.quality(adapt)}, progress)
    return training
