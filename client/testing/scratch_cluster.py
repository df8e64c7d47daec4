"""A real cluster for one test: node processes on loopback, in a folder that is thrown away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from ringmill.client.arguments import Seconds, checked_timeout_s
from ringmill.client.blocking import Client
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.local import local_cluster
from ringmill.client.local.bringing_up import bring_up
from ringmill.client.local.local_forming import start_again
from ringmill.client.local.local_state import LocalCluster, LocalNode, read_token
from ringmill.client.local.log_files import tail
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.testing.scratch_guard import ScratchGuard, end_nodes
from ringmill.cluster.errors import DeadlineExceeded, RingmillError

__all__ = ["ScratchCluster"]

T = TypeVar("T")

NAME: Final = "scratch"
ASK_S: Final = 1.0
POLL_S: Final = 0.05
LOWEST_PORT: Final = 12_000
PORTS: Final = 15_000
STEP: Final = 37
LOG_LINES: Final = 20


class ScratchCluster:
    """Node processes that end with the block, or with this process, however that ends.

        with ScratchCluster(nodes=3) as cluster, cluster.client() as db:
            db.put("k", b"v", w=2)
            cluster.kill("n2")
            assert db.get("k", r=2).value == b"v"

    Nodes are named n1 to nN.  `folder` holds data and logs; without one they are in a temporary folder, which
    is removed when the cluster closes.
    """

    def __init__(
        self,
        *,
        nodes: int = 3,
        replicas: int | None = None,
        partitions: int = 16,
        folder: str | None = None,
        timeout: Seconds = 30.0,
    ) -> None:
        """`timeout` is how many seconds nodes have to start, and to start again.

        Replicas None means 3, or fewer if there are fewer nodes.  Entering the block raises InvalidArgument
        for settings that contradict each other, RingmillError with the end of its log when a node cannot
        start, DeadlineExceeded.
        """
        self._timeout_s = checked_timeout_s(timeout)
        self._plan = {"nodes": nodes, "partitions": partitions}
        if replicas is not None:
            self._plan["replicas"] = replicas
        self._home = folder
        self._folder = ""
        self._cluster: LocalCluster | None = None
        self._guard: ScratchGuard | None = None
        self._last_logs: list[tuple[str, str, str]] = []

    def __enter__(self) -> ScratchCluster:
        home = tempfile.mkdtemp(prefix="ringmill-") if self._home is None else self._home
        self._folder = os.path.join(home, NAME)
        self._guard = ScratchGuard(self._folder)
        first = LOWEST_PORT + os.getpid() * STEP % PORTS  # another place for another test process
        try:
            base = free_base(self._plan["nodes"], first)  # a folder that was used before has its ports
            bring = partial(bring_up, NAME, self._folder, self._plan, self._timeout_s, base_port=base)
            self._cluster, _ = _outside_of_loops(bring)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ringmill scratch cluster of {', '.join(self.nodes)} in {self._folder}>"

    def close(self) -> None:
        """End all nodes, and remove a temporary folder; calling it again does nothing."""
        cluster, self._cluster = self._cluster, None
        guard, self._guard = self._guard, None
        if cluster is not None:
            end_nodes(cluster.nodes)  # data is thrown away: no need to flush it
            self._last_logs = _logs_of(cluster, lambda _: "closed")
        if guard is not None:
            guard.dismiss()
        if self._home is None and self._folder:
            shutil.rmtree(os.path.dirname(self._folder), ignore_errors=True)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes."""
        return tuple(node.id for node in self._state.nodes)

    @property
    def records(self) -> tuple[LocalNode, ...]:
        """What is known of each node's process: pid, address, zone."""
        return self._state.nodes

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the nodes, "host:port" each."""
        return [node.address for node in self._state.nodes]

    @property
    def folder(self) -> str:
        """Where data and logs are."""
        return self._folder

    @property
    def token(self) -> str:
        """The cluster's token, which opens all."""
        return read_token(self._folder)

    def client(self, *, timeout: Seconds = 5.0) -> Client:
        """A blocking client with the cluster's token; enter it with `with`."""
        return Client(self.endpoints, timeout=timeout, token=self.token)

    def connect(self, *, timeout: Seconds = 5.0) -> AsyncClient:
        """An async client with the cluster's token; enter it with `async with`."""
        return connect(self.endpoints, timeout=timeout, token=self.token)

    def state(self, node: str) -> str:
        """The state of a node's process: "running", "paused" or "stopped".  Raises NotFound."""
        return local_cluster.node_state(self._state.node(node))

    def kill(self, *nodes: str) -> None:
        """End nodes with SIGKILL, as a crash would.  Raises NotFound for one that is not running."""
        self._signal(nodes, signal.SIGKILL)
        end_nodes(self._chosen(nodes))

    def pause(self, *nodes: str) -> None:
        """Stop nodes with SIGSTOP: their connections stay open, but they do not answer.  Raises NotFound."""
        self._signal(nodes, signal.SIGSTOP)
        until = time.monotonic() + local_cluster.KILL_PATIENCE_S
        while any(self.state(each) == "running" for each in nodes) and time.monotonic() < until:
            time.sleep(POLL_S)  # the kernel stops a process a little later

    def resume(self, *nodes: str) -> None:
        """Let paused nodes go on.  Raises NotFound for one that is not running."""
        self._signal(nodes, signal.SIGCONT)

    def stop(self, *nodes: str) -> None:
        """End nodes in order (SIGTERM): each leaves service first, so that no request fails."""
        local_cluster.stop_nodes(self._chosen(nodes))

    def restart(self, *nodes: str) -> None:
        """Start nodes again on their data, and wait until they serve; one that runs is stopped before.

        Raises RingmillError with the end of its log when a node cannot start, DeadlineExceeded.
        """
        chosen = self._chosen(nodes)
        local_cluster.stop_nodes(chosen)
        again = start_again(self._state, chosen, self._timeout_s)
        self._cluster = _outside_of_loops(partial(asyncio.run, again))

    def wait_healthy(self, timeout: Seconds = 20.0) -> None:
        """Wait until all nodes are up and every partition has its owners.

        Raises DeadlineExceeded, which says what is still amiss.
        """
        timeout_s = checked_timeout_s(timeout)
        until = time.monotonic() + timeout_s
        while amiss := _outside_of_loops(lambda: asyncio.run(self._amiss())):
            if time.monotonic() >= until:
                raise DeadlineExceeded(f"the cluster is not healthy after {timeout_s:g} s: {amiss}")
            time.sleep(POLL_S)

    def log(self, node: str, lines: int = 200) -> str:
        """The last lines of a node's log."""
        return "\n".join(tail(self._state.log_path(self._state.node(node)), lines))

    def last_logs(self) -> list[tuple[str, str, str]]:
        """The name, the state and the end of the log of each node, also once the cluster was closed."""
        if self._cluster is None:
            return self._last_logs
        return _logs_of(self._cluster, local_cluster.node_state)

    @property
    def _state(self) -> LocalCluster:
        if self._cluster is None:
            raise RingmillError("the scratch cluster is not running", hint="use it inside `with`")
        return self._cluster

    def _chosen(self, nodes: tuple[str, ...]) -> list[LocalNode]:
        if not nodes:
            raise RingmillError("no node was named", hint=f"the nodes: {', '.join(self.nodes)}")
        return self._state.chosen(nodes)

    def _signal(self, nodes: tuple[str, ...], number: signal.Signals) -> None:
        chosen = self._chosen(nodes)
        local_cluster.check_run(chosen)
        for node in chosen:
            local_cluster.signal_node(node, number)

    async def _amiss(self) -> str:
        try:
            async with self.connect(timeout=ASK_S) as db:
                seen = await db.status()
        except RingmillError as error:
            return str(error)
        return "" if seen.health == "ok" else "; ".join(seen.reasons)


def _outside_of_loops(call: Callable[[], T]) -> T:
    """The result of a call that runs an event loop: in another thread where one runs in this, which waits."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


def _logs_of(cluster: LocalCluster, state_of: Callable[[LocalNode], str]) -> list[tuple[str, str, str]]:
    return [
        (node.id, state_of(node), "\n".join(tail(cluster.log_path(node), LOG_LINES)))
        for node in cluster.nodes
    ]
