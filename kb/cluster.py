"""Runs functions on the machines of a Ray cluster (extra `distributed`).

Code that works part by part takes a cluster or None; without one it computes the parts itself. Both make the same calls and use
the results in the same order, so that the outcome is the same.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from kb.errors import ClusterError, KnowledgeBaseError

Part = TypeVar("Part")
Result = TypeVar("Result")
State = TypeVar("State")
_P = ParamSpec("_P")

_CONNECT_TIMEOUT = 10.0  # seconds; Ray itself tries for minutes


class Cluster:
    """A connection to a Ray cluster. Every machine of it has this package installed; functions and data are sent to them."""

    def __init__(self, address: str) -> None:
        """Connect to the cluster whose head node listens at `address`, HOST:PORT.

        Raises ClusterError if the address is malformed, Ray is not installed, or no cluster answers.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ClusterError(f"{address!r} is not the address of a Ray cluster; give that of its head, as in 10.0.0.5:6379.")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        if (Path.home() / ".ray" / "auth_token").is_file():  # `ray start` uses it by itself
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray
        except ImportError:
            raise ClusterError("Ray is not installed: `pip install 'paper-kb[distributed]'`, on every machine.") from None
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, OverflowError, RuntimeError) as error:
            raise ClusterError(
                f"No Ray cluster answers at {address} ({error}). Start one with `ray start --head --port 6379`, join machines to "
                "it with `ray start --address HOST:6379`, and give the head's address."
            ) from error
        self._ray = ray

    def close(self) -> None:
        """Disconnect; running work is cancelled."""
        self._ray.shutdown()

    def __enter__(self) -> Cluster:
        """Return the cluster itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Disconnect."""
        self.close()

    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the function's result for every part, in order; each runs on one processor. The function is sent once a machine.

        Parts are consumed as processors become free. Lost work is retried elsewhere. Raises ClusterError if a part is lost more
        than three times, and the function's own errors as they are.
        """
        compute = self._ray.remote(max_retries=3)(_compute)
        sent = self._ray.put(function)
        # One part is queued behind each running one, so that no processor waits for this process.
        ahead = 2 * self._processors()
        waiting: deque[Any] = deque()
        for part in parts:
            # Inside a list it is passed as a reference; Ray would else deserialise it for each part.
            waiting.append(compute.remote([sent], part))
            if len(waiting) >= ahead:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def actors(self, make: Callable[[Part], State], parts: Sequence[Part]) -> Actors[State]:
        """Start a process on the cluster for each part, which keeps `make(part)` until the cluster is closed."""
        # A lost process is restarted elsewhere, and its call retried.
        actor = self._ray.remote(max_restarts=-1, max_task_retries=3)(_Actor)
        return Actors(self, [actor.remote(make, part) for part in parts])

    def _processors(self) -> int:
        resources: dict[str, float] = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def _result(self, reference: Any) -> Any:  # noqa: ANN401
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            # Ray wraps the cause in an error with the traceback of the remote process, which users do not need.
            raise (error.cause if isinstance(error.cause, KnowledgeBaseError) else error) from None
        except self._ray.exceptions.RayError as error:
            raise ClusterError(
                f"The cluster lost the work ({str(error).splitlines()[0]}). Look at its machines, and run the command again: "
                "what is stored stays."
            ) from error


def cluster_at(address: str) -> AbstractContextManager[Cluster | None]:
    """The Ray cluster whose head listens at `address`, HOST:PORT; none for an empty address. Raises ClusterError."""
    return Cluster(address) if address else nullcontext()


class Actors(Generic[State]):
    """Processes of a cluster that each keep a state, called all at once."""

    def __init__(self, cluster: Cluster, actors: Sequence[Any]) -> None:
        """Take Ray's handles of the processes; `Cluster.actors` starts them."""
        self._cluster = cluster
        self._actors = actors

    def call(self, function: Callable[..., Result], *arguments: object) -> list[Result]:
        """Call `function(state, *arguments)` in every process; results in the order of the parts. Raises as `Cluster.map`."""
        pending = [actor.call.remote(function, *arguments) for actor in self._actors]
        return [self._cluster._result(reference) for reference in pending]


class _Actor:
    """Runs in a process of the cluster and keeps a state."""

    def __init__(self, make: Callable[[Any], Any], part: object) -> None:
        self._state = make(part)

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        """Call the function with the state."""
        return function(self._state, *arguments)


def _compute(sent: list[Any], part: object) -> Any:  # noqa: ANN401
    """Run in a process of the cluster: the function behind the reference, of one part."""
    return _function(sent[0])(part)


@lru_cache(maxsize=1)
def _function(reference: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    """The function behind a reference, cached for all parts: what it builds for itself, such as a model, is built once."""
    import ray

    function: Callable[[Any], Any] = ray.get(reference)
    return function
