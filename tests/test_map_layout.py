"""The map: like papers lie together, a new paper moves no old one, a new drawing keeps the old one's directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import record
from numpy.typing import NDArray

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder, Vectors
from kb.errors import StoreError
from kb.insights.map_layout import MAP_FILE, Coordinates, MapLayout, Projection, Projector
from kb.store import Home


def clusters(n: int, groups: int = 6, d: int = 32, seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors in well separated groups, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(groups, d))
    group = rng.integers(groups, size=n)
    vectors = centres[group] + 0.5 * rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), group


def kept(vectors: Vectors, coordinates: Coordinates, share: float = 0.05) -> float:
    """Of each paper's ten nearest by cosine, the share that is among so much of all that lie nearest on the map."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    distances = np.linalg.norm(coordinates[:, None] - coordinates, axis=2)
    limit = np.quantile(distances, share, axis=1)
    return float((np.take_along_axis(distances, nearest, axis=1) <= limit[:, None]).mean())


@pytest.mark.parametrize("landmarks", [600, 150], ids=["every paper a landmark", "landmarks by k-means"])
def test_neighbours_stay_neighbours_better_than_by_principal_axes(landmarks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.insights.map_layout._LANDMARKS", landmarks)
    vectors, group = clusters(600)
    projection = Projection.fit(vectors, 600, "model")
    assert len(projection.landmarks) == landmarks
    coordinates = Projector(projection).project(vectors)
    assert kept(vectors, coordinates) > kept(vectors, (vectors - projection.mean) @ projection.axes[:, :2])
    nearest = np.argsort(np.linalg.norm(coordinates[:, None] - coordinates, axis=2), axis=1)[:, 1:11]
    assert (group[nearest] == group[:, None]).mean() > 0.99


def test_equal_vectors_give_equal_maps_and_each_place_is_its_own() -> None:
    vectors, _ = clusters(300)
    first, second = Projection.fit(vectors, 300, "model"), Projection.fit(vectors, 300, "model")
    np.testing.assert_array_equal(first.anchors, second.anchors)
    together = Projector(first).project(vectors)
    alone = np.concatenate([Projector(first).project(vectors[i : i + 1]) for i in (0, 17, 299)])
    np.testing.assert_allclose(alone, together[[0, 17, 299]], atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17])
def test_few_papers_have_a_map_too(n: int) -> None:
    vectors, _ = clusters(n)
    coordinates = Projector(Projection.fit(vectors, n, "model")).project(vectors)
    assert coordinates.shape == (n, 2)
    assert np.isfinite(coordinates).all()


def test_papers_with_one_text_lie_on_one_point() -> None:
    vectors = np.tile(clusters(1)[0], (50, 1))
    coordinates = Projector(Projection.fit(vectors, 50, "model")).project(vectors)
    assert np.isfinite(coordinates).all()
    assert np.ptp(coordinates, axis=0).max() < 1e-6  # some processors round otherwise at the end of a block of rows


def test_a_map_drawn_anew_lies_as_the_old_one_did() -> None:
    vectors, _ = clusters(400)
    old = Projection.fit(vectors, 400, "model")
    more = np.concatenate([vectors, clusters(600, seed=3)[0]])
    new = Projection.fit(more, 1000, "model", old)
    before, after = Projector(old).project(vectors), Projector(new).project(vectors)
    correlation = [np.corrcoef(before[:, axis], after[:, axis])[0, 1] for axis in (0, 1)]
    assert min(correlation) > 0.9
    turned = replace(old, anchors=old.anchors[:, ::-1] * np.float32([1, -1]))
    after = Projector(Projection.fit(more, 1000, "model", turned)).project(vectors)
    expected = before[:, ::-1] * np.float32([1, -1])
    assert min(np.corrcoef(expected[:, axis], after[:, axis])[0, 1] for axis in (0, 1)) > 0.9


# In the job ---------------------------------------------------------------------------------------------------------------


class Told:
    """The tasks of a job, and how much of each was done."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[int]] = {}

    def start(self, task: str, total: int, unit: str) -> None:
        self.tasks[f"{task}, {unit}"] = [0, total]

    def advance(self, done: int) -> None:
        list(self.tasks.values())[-1][0] += done

    def wait(self, what: str, seconds: float) -> None: ...


def atlas(home: Home) -> MapLayout:
    generation = home.open()
    try:
        found = MapLayout.of(generation)
    finally:
        generation.close()
    assert found is not None
    return found


WriteSnapshot = Callable[[Sequence[object], str], Path]


def test_the_job_places_new_papers_and_moves_no_old_one(home: Home, write_snapshot: WriteSnapshot, encoder: Encoder) -> None:
    run_snapshot(home, [write_snapshot([record(n) for n in range(40)], "a.jsonl")])
    told = Told()
    run_index(home, encoder, told)
    assert told.tasks["Placing papers on the map, papers"] == [40, 40]
    before = atlas(home)
    assert len(before.keys) == len(before.coordinates) == 40
    changed = record(7, abstract="Another text altogether, on the soil of Mars.", update_date="2021-01-01")
    run_snapshot(home, [write_snapshot([changed, *(record(n) for n in range(40, 60))], "b.jsonl")])
    told = Told()
    run_index(home, encoder, told)
    assert told.tasks["Placing papers on the map, papers"] == [21, 21]
    assert "Drawing the map, map" not in told.tasks
    after = atlas(home)
    same = np.isin(after.keys, before.keys) & np.isin(after.digests, before.digests)
    assert same.sum() == 39
    np.testing.assert_array_equal(after.coordinates[same], before.coordinates[np.isin(before.digests, after.digests)])
    generations = home.generations
    name = home.current_name()
    run_index(home, encoder)
    assert (generations / name / MAP_FILE).samefile(generations / home.current_name() / MAP_FILE)  # nothing to do: shared


def test_a_base_that_has_doubled_is_drawn_anew(home: Home, write_snapshot: WriteSnapshot, encoder: Encoder) -> None:
    run_snapshot(home, [write_snapshot([record(n) for n in range(20)], "a.jsonl")])
    run_index(home, encoder)
    assert atlas(home).projection.fitted_on == 20
    run_snapshot(home, [write_snapshot([record(n) for n in range(41)], "b.jsonl")])
    run_index(home, encoder)
    assert atlas(home).projection.fitted_on == 41


def test_a_damaged_atlas_is_told_and_drawn_again(home: Home, write_snapshot: WriteSnapshot, encoder: Encoder) -> None:
    run_snapshot(home, [write_snapshot([record(n) for n in range(20)], "a.jsonl")])
    run_index(home, encoder)
    whole = atlas(home)
    path = home.generations / home.current_name() / MAP_FILE
    data = path.read_bytes()
    path.unlink()  # generations share it
    path.write_bytes(b"\0" * len(data))
    with pytest.raises(StoreError, match="kb index"):
        atlas(home)
    run_index(home, encoder)
    np.testing.assert_array_equal(atlas(home).coordinates, whole.coordinates)
