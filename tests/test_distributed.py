"""A Ray cluster of three machines on this one: what it computes is what one process computes, whatever is lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ingest.jobs.run import run_index, run_snapshot
from kb.cluster import Cluster
from kb.encode.encoder import Encoder, Vectors
from kb.encode.vector_store import digests
from kb.errors import ClusterError, QueryError
from kb.index.build import embed_missing
from kb.index.dense import DenseIndex
from kb.index.shards import ShardedIndex, write_shards
from kb.models.marge.pairs import mine_pairs
from kb.search.searcher import Searcher
from kb.store import Home, Keys

from conftest import record  # isort: skip

# Nothing is sent anywhere; and a machine that is busy with something else is slow, not lost.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_raylet_start_wait_time_s": "300",
}
PATIENCE = 300  # seconds for what takes one or two


class Machines:
    """Three machines with a processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Local

        self._size = {"num_cpus": 1, "object_store_memory": 128 << 20}
        self._local = Local(initialize_head=True, head_node_args=self._size | {"include_dashboard": False})
        self._others = [self._local.add_node(**self._size) for _ in range(2)]
        self.address = str(self._local.address)

    def lose(self, identifiers: set[str]) -> None:
        """Kill every process of one of these machines, not of the one that we are on; another takes its place."""
        lost = next(machine for machine in self._others if machine.node_id in identifiers)
        self._others.remove(lost)
        self._local.remove_node(lost, allow_graceful=False)
        self._others.append(self._local.add_node(**self._size))
        wait_for(lambda: lost.node_id not in self._alive() and len(self._alive()) == 3)  # until the head has missed it, it counts

    def _alive(self) -> set[str]:
        import ray

        return {machine["NodeID"] for machine in ray.nodes() if machine["Alive"]}

    def close(self) -> None:
        self._local.shutdown()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    pytest.importorskip("ray", reason="needs the extra `distributed`")
    # Sockets lie there, whose names may have a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SETTINGS | {"RAY_TMPDIR": str(folder)}).items():
            patch.setenv(name, value)
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # this module is on no other machine
        machines = Machines()
        try:
            yield machines
        finally:
            machines.close()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(machines: Machines) -> Iterator[Cluster]:
    with Cluster(machines.address) as cluster:
        yield cluster


class Watched:
    """An encoder that tells where it runs, and then waits until something was lost."""

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self.model_id, self.fingerprint, self.dimension = encoder.model_id, encoder.fingerprint, encoder.dimension
        self._encoder = encoder
        self._folder = folder

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        import ray

        (self._folder / f"{os.getpid()}-{ray.get_runtime_context().get_node_id()}").touch()
        wait_for(lambda: (self._folder / "lost").exists())
        return self._encoder.encode(texts, progress)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def files(home: Home) -> dict[str, bytes]:
    """Every file of vectors; their names have their checksum."""
    return {path.relative_to(home.vectors).as_posix(): path.read_bytes() for path in home.vectors.rglob("*.npy")}


@pytest.fixture
def papers(tmp_path: Path, write_snapshot: Callable[..., Path]) -> tuple[Home, Home]:
    """Two knowledge bases of the same sixty-five papers."""
    first, second = Home(tmp_path / "first"), Home(tmp_path / "second")
    run_snapshot(first, [write_snapshot([record(number) for number in range(65)])])
    shutil.copytree(first.path, second.path)
    return first, second


@pytest.mark.parametrize("what", ["a process", "a machine"])
def test_embedding_survives_a_loss(
    machines: Machines,
    cluster: Cluster,
    papers: tuple[Home, Home],
    encoder: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    # Three segments of twenty, and one of five texts: so few are embedded in another way.
    monkeypatch.setattr("kb.index.build._SEGMENT_TEXTS", 20)
    here, there = papers
    embed_missing(here, encoder)
    seen = tmp_path / "seen"
    seen.mkdir()
    with ThreadPoolExecutor(1) as pool:
        embedding = pool.submit(embed_missing, there, Watched(encoder, seen), cluster=cluster)
        wait_for(lambda: len(list(seen.iterdir())) == 3 or embedding.done())  # every processor is at work
        running = [path.name.partition("-") for path in seen.iterdir()]
        if what == "a process":
            os.kill(int(running[0][0]), signal.SIGKILL)
        else:
            machines.lose({node for _, _, node in running})
        (seen / "lost").touch()
        report = embedding.result()
    assert report.embedded == 65
    assert files(there) == files(here)
    assert len(files(here)) == 8


def test_kb_index_on_a_cluster(machines: Machines, papers: tuple[Home, Home], encoder: Encoder) -> None:
    here, there = papers
    run_index(here, encoder)
    command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(there.path), "index", "--ray"]
    done = subprocess.run([*command, machines.address], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "Embedded 65 texts" in done.stderr
    assert files(there) == files(here)
    with Searcher.open(here, encoder) as one, Searcher.open(there, encoder) as other:
        assert one.catalogue.documents().digests == other.catalogue.documents().digests
        assert one.search("speech", k=65) == other.search("speech", k=65)


def test_pairs_are_those_of_one_process(cluster: Cluster) -> None:
    start = unit(900)
    vectors = unit(900, seed=1) + start
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shards = [np.sort(part) for part in np.split(np.random.default_rng(2).permutation(900), [1, 300, 302, 750])]
    here = mine_pairs(vectors, start, shards, neighbours=5, pairs_per_paper=3)
    there = mine_pairs(vectors, start, shards, neighbours=5, pairs_per_paper=3, cluster=cluster)
    assert len(here.target) > 500
    np.testing.assert_array_equal(here.target, there.target)
    np.testing.assert_array_equal(here.evidence, there.evidence)


# Search over shards -------------------------------------------------------------------------------------------------------


def unit(rows: int, dimension: int = 32, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def sharded(folder: Path, keys: Keys, vectors: Vectors, count: int) -> list[Path]:
    texts = digests([f"{key:032x}" for key in keys.tolist()])
    return write_shards(folder, count, keys, texts, lambda rows: vectors[rows], vectors.shape[1])


@pytest.mark.parametrize("share", [None, 0.3, 0.002])
def test_shards_find_what_one_index_finds(tmp_path: Path, share: float | None) -> None:
    chance = np.random.default_rng(3)
    keys = np.sort(chance.choice(50_000, 3000, replace=False))
    # Products of small whole numbers are exact, and many are equal.
    vectors = chance.integers(-2, 3, (3000, 32)).astype(np.float32)
    whole, shards = DenseIndex.build(keys, vectors), ShardedIndex(sharded(tmp_path, keys, vectors, 4))
    allowed = None if share is None else np.sort(chance.choice(keys, int(len(keys) * share), replace=False))
    kept = np.ones(len(keys), dtype=bool) if allowed is None else np.isin(keys, allowed)
    for query in chance.integers(-2, 3, (20, 32)).astype(np.float32):
        products = vectors[kept] @ query
        order = np.lexsort((keys[kept], -products))
        for k in (1, 10, 99, 200, 4000):
            for found, scores in (whole.search(query[None], k, allowed), shards.search(query[None], k, allowed)):
                assert found[0].tolist() == keys[kept][order[:k]].tolist()
                assert scores[0].tolist() == products[order[:k]].tolist()


def test_shards_on_a_cluster_survive_a_loss(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.index.dense._MAX_FLAT", 500)  # the shards are compressed
    paths = sharded(tmp_path, np.arange(0, 6000, 2), unit(3000), 3)
    here, there = ShardedIndex(paths), ShardedIndex(paths, cluster)
    queries = unit(30, seed=6)
    expected = here.search(queries, 10)
    for lost in (False, True):
        if lost:
            assert there._actors is not None
            os.kill(there._actors.call(process)[1], signal.SIGKILL)
        found = there.search(queries, 10)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def process(_: object) -> int:
    return os.getpid()


# What goes wrong ----------------------------------------------------------------------------------------------------------


def refuse(number: int) -> int:
    if number == 2:
        raise QueryError("two is refused")
    return -number


def test_parts_come_in_order_and_an_error_as_it_is(cluster: Cluster) -> None:
    taken: list[int] = []

    def parts() -> Iterator[int]:
        for number in (0, 1, 3, 4, 5, 6, 7, 8, 9, 2):
            taken.append(number)
            yield number

    found = cluster.map(refuse, parts())
    assert next(found) == 0
    assert len(taken) == 6  # two for each of three processors
    assert [next(found) for _ in range(8)] == [-1, -3, -4, -5, -6, -7, -8, -9]
    with pytest.raises(QueryError, match=r"^two is refused$"):
        next(found)


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_work_that_is_lost_again_and_again(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="lost the work"):
        list(cluster.map(die, [1]))


@pytest.mark.parametrize("address", ["", "auto", "local", "here", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999999", ":6379"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ClusterError, match=r"is not the address of a Ray cluster|No Ray cluster"):
        Cluster(address)


def test_nothing_listens_there() -> None:
    pytest.importorskip("ray", reason="needs the extra `distributed`")
    with pytest.raises(ClusterError, match=r"ray start --head"):
        Cluster("127.0.0.1:1")


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"paper-kb\[distributed\]"):
        Cluster("127.0.0.1:6379")
