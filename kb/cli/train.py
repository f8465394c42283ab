"""`kb train`: models trained on the user's own papers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, Ray, bars, knowledge_base, print_json, say
from kb.errors import ModelError

if TYPE_CHECKING:
    from kb.api.results import MargeTraining

commands = typer.Typer(no_args_is_help=True, help="Train a model on your own papers.")


class Preset(StrEnum):
    """The size of a model, and the length of its training."""

    TINY = "tiny"
    CPU = "cpu"
    GPU = "gpu"


@commands.callback()
def _train() -> None:
    """Train a model on your own papers."""


@commands.command()
def marge(
    file: Annotated[
        Path | None, typer.Argument(help="A snapshot of arXiv's metadata to train on instead of your papers.")
    ] = None,
    preset: Annotated[Preset, typer.Option("--preset", help="The size of the model; tiny is for trying it out.")] = Preset.CPU,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps, instead of the preset's.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="Begin with this trained model: a folder, or `marge` for the one included.")
    ] = None,
    ray: Ray = "",
    as_json: Json = False,
) -> None:
    """Train the retriever and reranker that explain a paper by others, without labels.

    A run that was stopped continues. The model is installed into the knowledge base's folder if it finds the other half of
    held-out abstracts better than the encoder, the model it began with, the one by which papers are compared now, and one
    installed before.
    """
    with bars() as progress:
        base = knowledge_base(progress)
        done = base.train_marge(file, preset=preset, steps=steps, start=begin, ray=ray)
    if as_json:
        print_json(done.as_json())
    _tell(done)


@commands.command()
def ranker(as_json: Json = False) -> None:
    """Fit the ranker to your reading lists: each paper is to be found by the others of its list.

    The weights are learned from one half of the papers and used from then on if they find the other half better.
    """
    with bars() as progress:
        done = knowledge_base(progress).train_ranker()
    if as_json:
        print_json(done.as_json())
    gain = f"{done.gain.mean:+.4f} [{done.gain.low:+.4f}, {done.gain.high:+.4f}]"
    said = f"{done.queries} papers of lists; mean reciprocal rank of the held-out half {done.before:.4f}, now {done.after:.4f}"
    say(f"{said}, {gain}. {'In use from now on.' if done.installed else 'Not better: nothing was changed.'}")


def _tell(done: MargeTraining) -> None:
    """Say how good the model is. Raises ModelError if it was not installed."""
    found = done.comparison
    said = f"The other half of a held-out abstract: mean reciprocal rank {found.quality:.4f}"
    said = f"{said}, {found.baseline_quality:.4f} with {found.baseline}"
    if done.installed is None:
        gain = found.quality - found.baseline_quality
        raise ModelError(f"{said}. The new one is not better ({gain:+.4f}) and was not installed; {done.work} holds its log.")
    say(f"{said}; {found.mix:.0%} of what was learned. Installed in {done.installed}.")
    say(f"To use it, set KB_MODEL={done.installed} and run `kb index`; KB_RERANKER takes the same folder.")
