"""`kb status`: what the knowledge base holds."""

from __future__ import annotations

from rich.table import Table

from kb.cli.console import Json, knowledge_base, print_json, results, say
from kb.cli.match import tell_notes_to_match
from kb.text.plurals import describe_counts, pluralize


def status(as_json: Json = False) -> None:
    """Show what the knowledge base holds and what the last jobs did."""
    found = knowledge_base().status()
    if as_json:
        print_json(found.as_json())
        return
    manifest = found.manifest
    results.print(
        f"{pluralize(manifest.papers, 'paper')}, {pluralize(manifest.notes, 'note')}, "
        f"{pluralize(manifest.code_links, 'code link')}; {manifest.embedded:,} embedded with "
        f"{manifest.model_id or 'no model yet'}; generation {manifest.generation}"
    )
    if manifest.embedded < manifest.papers:
        say(f"{pluralize(manifest.papers - manifest.embedded, 'paper')} not embedded yet: `kb index`.", "yellow")
    tell_notes_to_match(found.notes_to_match)
    table = Table("started", "job", "outcome", "counts", "source")
    for run in found.runs:
        table.add_row(run.started.isoformat(" ", "seconds"), run.job, run.outcome, describe_counts(run.counts), run.source)
    results.print(table)
