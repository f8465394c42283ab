"""Notes in the catalogue: titles from the best source, files that moved, are gone or unchanged, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.notes.files import find_notes
from ingest.notes.ingest import forget_notes, ingest_notes
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import NoProgress
from kb.store import Catalogue, Home

DOI = "doi:10.1162/neco.1991.3.1.79"


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Home(tmp_path / "home").draft() as draft:
        yield draft.catalogue


def ingest(catalogue: Catalogue, *paths: Path) -> Report:
    return ingest_notes(catalogue, paths, NoProgress())


def test_a_weak_source_never_replaces_a_better_title(catalogue: Catalogue, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text(
        f"- TODO read https://doi.org/{DOI[4:]}\n- [Mixtures](https://doi.org/{DOI[4:]})\n", encoding="utf-8"
    )
    ingest(catalogue, folder)
    assert catalogue.notes.papers() == {DOI: "Mixtures"}
    (folder / "z.md").write_text(
        f"# Adaptive Mixtures of Local Experts\n\n- [paper](https://doi.org/{DOI[4:]})\n", encoding="utf-8"
    )
    report = ingest(catalogue, folder)
    assert catalogue.notes.papers() == {DOI: "Adaptive Mixtures of Local Experts"}
    assert (report.counts["unchanged"], report.counts["new"]) == (2, 1)
    origin = catalogue.notes.title_origin(DOI)
    assert origin is not None
    assert (origin.title_source, Path(origin.source).name, origin.line) == ("heading", "z.md", 1)
    (folder / "refs.bib").write_text(
        f"@article{{j,\n title={{Adaptive Mixtures of Local Experts}},\n author={{Jacobs, Robert}},\n doi={{{DOI[4:]}}}\n}}\n",
        encoding="utf-8",
    )
    ingest(catalogue, folder)
    origin = catalogue.notes.title_origin(DOI)
    assert origin is not None
    assert origin.title_source == "bibliography"


def test_a_folder_that_moved_takes_its_notes_along(catalogue: Catalogue, tmp_path: Path) -> None:
    old, new = tmp_path / "v", tmp_path / "w"
    old.mkdir()
    (old / "a.md").write_text("- [Dense Windows](https://arxiv.org/abs/2106.04554)\n", encoding="utf-8")
    report = ingest(catalogue, old)
    assert report.new_papers == [("arxiv:2106.04554", "Dense Windows")]
    old.rename(new)
    report = ingest(catalogue, new)
    assert report.counts == {"files": 1, "moved": 1, "unchanged": 1}
    assert catalogue.notes.sources() == [str((new / "a.md").resolve())]
    with pytest.raises(SourceError, match="--forget"):
        ingest(catalogue, old)


def test_forgetting_takes_away_what_a_path_brought(catalogue: Catalogue, tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(
            f"- [Windows {name}](https://arxiv.org/abs/2106.0455{ord(name[0]) - 97})\n", encoding="utf-8"
        )
    ingest(catalogue, tmp_path / "a.md", tmp_path / "b.md")
    (tmp_path / "a.md").unlink()
    assert forget_notes(catalogue, [tmp_path / "a.md"], NoProgress()).counts == {"files": 1, "removed": 1}
    assert set(catalogue.notes.papers()) == {"arxiv:2106.04551"}
    with pytest.raises(SourceError, match="no notes came from there"):
        forget_notes(catalogue, [tmp_path / "a.md"], NoProgress())


def test_what_holds_no_paper_is_counted_and_no_failure(catalogue: Catalogue, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "README.md").write_text("# My notes on papers and books\n\nHello.\n", encoding="utf-8")
    (folder / "a.md").write_text("- [Windows](https://arxiv.org/abs/2106.04554)\n", encoding="utf-8")
    (folder / "b.pdf").write_bytes(b"%PDF")
    report = ingest(catalogue, folder)
    assert report.complete
    assert report.counts["files without a paper"] == 1
    assert [(Path(s.source).name, s.line) for s in report.left_out] == [("README.md", 1)]
    assert report.message == "1 file of other kinds left out: 1 .pdf."


def test_which_files_are_notes(tmp_path: Path) -> None:
    for name in (
        "a.md",
        "b.qmd",
        "c.Rmd",
        "d.org",
        "e.bib",
        "node_modules/x.md",
        "templates/t.md",
        "drafts/f.md",
        "old.md",
        "g.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / ".kbignore").write_text("# not yet\ndrafts/\nold*\n", encoding="utf-8")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = find_notes(tmp_path)
    assert [file.name for file in found.files] == ["a.md", "b.qmd", "c.Rmd", "d.org", "e.bib"]
    assert found.left_out == {".png": 1}


def test_whose_code_it_is_reaches_the_paper(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# [Sparse Attention for Long Documents](https://arxiv.org/abs/2004.05150)\n\n"
        "- Code on [github](https://github.com/allenai/longformer).\n"
        "- Uses [TSDF fusion](https://github.com/someone/tsdf) for its figures.\n"
        "- Unofficial implementations: [here](https://github.com/other/longformer-tf).\n"
        "- [My review](https://github.com/me/papers/blob/master/reviews/sparse.md)\n",
        encoding="utf-8",
    )
    ingest(catalogue, tmp_path / "a.md")
    links = catalogue.code_of(["arxiv:2004.05150"])["arxiv:2004.05150"]
    assert [(link.url, link.confidence) for link in links] == [("https://github.com/allenai/longformer", 0.8)]
