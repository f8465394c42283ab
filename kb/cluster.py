"""Work spread over the machines of a Ray cluster (extra `distributed`): the functions are those that run in one process.

What can be done part by part takes a cluster, or none, and then does the parts itself, one after the other. Either way each part
is the same call of the same function, and what comes back is taken in the same order; so the outcome is the same.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from kb.errors import ClusterError, KnowledgeBaseError

Part = TypeVar("Part")
Result = TypeVar("Result")
Kept = TypeVar("Kept")
_P = ParamSpec("_P")

_PATIENCE = 10.0  # seconds for the cluster's machine to answer; Ray itself would try for minutes


class Cluster:
    """Machines that compute. This package is installed on each of them; what a function needs besides is sent to them."""

    def __init__(self, address: str) -> None:
        """Joins the cluster whose head listens at `address`, as HOST:PORT.

        Raises ClusterError where Ray is not installed, or where nothing answers there.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ClusterError(f"{address!r} is no address of a Ray cluster; give that of its head, as in 10.0.0.5:6379.")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing calls home
        if (Path.home() / ".ray" / "auth_token").is_file():  # then `ray start` asks for it, and a program has to be told so
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray
        except ImportError:
            raise ClusterError("Ray is not installed: `pip install 'paper-kb[distributed]'`, on every machine.") from None
        try:
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, OverflowError, RuntimeError) as error:
            raise ClusterError(
                f"No Ray cluster answers at {address} ({error}). Start one with `ray start --head --port 6379`, join machines to "
                "it with `ray start --address HOST:6379`, and give the head's address."
            ) from error
        self._ray = ray

    def close(self) -> None:
        """Leaves the cluster; what is still under way there is ended."""
        self._ray.shutdown()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """The function of every part, in their order, a processor each; the function is sent to a machine once.

        Parts are taken as processors become free, not all at once. One whose process or machine is lost is computed again
        elsewhere; after three times ClusterError is raised. Errors of the function are raised as they are.
        """
        compute = self._ray.remote(max_retries=3)(_compute)
        sent = self._ray.put(function)
        # One part waits behind each that is computed, so that no processor waits for this one.
        ahead = 2 * self._processors()
        waiting: deque[Any] = deque()
        for part in parts:
            # In a list, it goes as a reference: else it would be unpacked for each part.
            waiting.append(compute.remote([sent], part))
            if len(waiting) >= ahead:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def keep(self, make: Callable[[Part], Kept], parts: Sequence[Part]) -> KeptParts[Kept]:
        """What `make` makes of every part, each in a process of its own somewhere, until the cluster is left."""
        # A process that is lost is started again elsewhere, and asked again.
        keeper = self._ray.remote(max_restarts=-1, max_task_retries=3)(_Keeper)
        return KeptParts(self, [keeper.remote(make, part) for part in parts])

    def _processors(self) -> int:
        resources: dict[str, float] = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def _result(self, reference: Any) -> Any:  # noqa: ANN401
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            # Ray makes an error of the cause's class that tells of the way through the cluster, which is no news to a user.
            raise (error.cause if isinstance(error.cause, KnowledgeBaseError) else error) from None
        except self._ray.exceptions.RayError as error:
            raise ClusterError(
                f"The cluster lost the work ({str(error).splitlines()[0]}). Look at its machines, and run the command again: "
                "what is stored stays."
            ) from error


class KeptParts(Generic[Kept]):
    """Values that processes of a cluster keep, to be asked all at once."""

    def __init__(self, cluster: Cluster, keepers: Sequence[Any]) -> None:
        self._cluster = cluster
        self._keepers = keepers

    def ask(self, function: Callable[..., Result], *arguments: object) -> list[Result]:
        """The function of every value, with the arguments behind it, in the order of the parts. Raises as Cluster.map does."""
        return [self._cluster._result(asked) for asked in [keeper.ask.remote(function, *arguments) for keeper in self._keepers]]


class _Keeper:
    """Runs in a process of the cluster."""

    def __init__(self, make: Callable[[Any], Any], part: object) -> None:
        self._value = make(part)

    def ask(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        return function(self._value, *arguments)


def _compute(sent: list[Any], part: object) -> Any:  # noqa: ANN401
    """Runs in a process of the cluster."""
    return _fetched(sent[0])(part)


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    """The function that was sent, the same one for every part: what it makes for itself, such as a laid-out model, stays."""
    import ray

    function: Callable[[Any], Any] = ray.get(reference)
    return function
