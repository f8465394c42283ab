"""`kb train`: models of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import Json, Ray, bars, home, joined, print_json, say
from kb.errors import ModelError

commands = typer.Typer(no_args_is_help=True, help="Train a model on your own papers.")


class Preset(StrEnum):
    """How large a model, and how long."""

    TINY = "tiny"
    CPU = "cpu"
    GPU = "gpu"


@commands.callback()
def _train() -> None:
    """Train a model on your own papers."""


@commands.command()
def marge(
    file: Annotated[Path | None, typer.Argument(help="A snapshot of arXiv's metadata to train on instead.")] = None,
    preset: Annotated[Preset, typer.Option("--preset", help="tiny is for trying it out.")] = Preset.CPU,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="As many instead of the preset's.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="Begin with this trained model: a folder, or `marge`, which comes along.")
    ] = None,
    mutual: Annotated[bool, typer.Option("--mutual", help="Learn from mutual nearest neighbours only.")] = False,
    distil: Annotated[
        bool,
        typer.Option("--distil", help="Let the ranker tell evidence from near papers that are none, and teach the retriever."),
    ] = False,
    ray: Ray = "",
    as_json: Json = False,
) -> None:
    """Train the retriever and reranker that explain a paper by others, without labels.

    A run that is stopped goes on where it was. The model is installed into the knowledge base's folder if it finds the other
    half of held-out abstracts better than each that there was: the encoder, the model that it began with, the one by which papers
    are compared now, and one installed before.
    """
    from dataclasses import replace

    from ingest.jobs.run import run_index, run_snapshot
    from kb.models.marge.corpus import read_corpus
    from kb.models.marge.encoder import MargeEncoder, Relevance
    from kb.models.marge.quality import Halves, verdict
    from kb.models.marge.states import TokenStates
    from kb.models.marge.training import CHECKPOINT, PRESETS, Training
    from kb.models.marge.weights import FACTS, read_model, write
    from kb.models.registry import DEFAULT_MODEL, default_folder, load_encoder, relevance_folder, trained_folder
    from kb.search.searcher import Searcher
    from kb.store import Home

    preset_plan = PRESETS[preset]
    plan = replace(preset_plan, steps=steps or preset_plan.steps, mutual=mutual, distil=1.0 if distil else 0.0)
    models = home().path / "models"
    work, installed = models / f"training-{preset}", models / "marge"
    encoder = load_encoder(DEFAULT_MODEL)
    folder = trained_folder(begin) if begin else None
    if folder:
        MargeEncoder(encoder, folder, str(begin))  # says so where it was trained over another encoder
    there = {relevance_folder(): "the model by which papers are compared now"}
    there |= {folder: "the model that it began with"} if folder else {}
    there |= {installed: f"the model in {installed}"} if (installed / FACTS).is_file() else {}
    rivals = {name: Relevance.read(place, encoder.fingerprint).adapt for place, name in there.items()}
    source = home()
    with joined(ray) as cluster, bars() as progress:
        if file is not None:
            source = Home(work / "papers")
            run_snapshot(source, [file], progress=progress)
            run_index(source, encoder, progress, cluster)
        with Searcher.open(source, encoder) as searcher:
            index = searcher.index
            searcher.encoder()  # says so where the index is of another model
            corpus = read_corpus(searcher.catalogue, index)
        progress.start("Embedding held-out halves", 2 * len(corpus.held_out), "texts")
        halves = Halves(corpus, encoder, progress.advance)
        states = TokenStates(default_folder())
        start = read_model(folder, states.words) if folder else None
        training = Training(corpus, states, plan, work, start, cluster)
        training.run(lambda adapt: {"MRR of halves": halves.quality(adapt)}, progress)
    found = verdict(halves, training.adapt, rivals)
    if found.better:
        write(installed, training.model, encoder.fingerprint, found.share)
    (work / CHECKPOINT).unlink()  # the next run is a new one
    if as_json:
        print_json(
            {"mix": found.share, "before": found.to_beat, "best before": found.rival, "after": found.quality}
            | {"installed": found.better, "log": training.log}
        )
    gain = found.quality - found.to_beat
    said = f"The other half of a held-out abstract: mean reciprocal rank {found.quality:.4f}"
    said = f"{said}, {found.to_beat:.4f} with {found.rival}"
    if not found.better:
        raise ModelError(f"{said}. The new one is not better ({gain:+.4f}) and was not installed; {work} holds its log.")
    say(f"{said}; {found.share:.0%} of what was learned. Installed in {installed}.")
    say(f"To use it, set KB_MODEL={installed} and run `kb index`; KB_RERANKER takes the same folder.")
