"""Node processes of one chaos run: started, killed, paused, started again, stopped at the end.

Signals go to processes that were started here and nowhere else: pid and start mark are compared before each
(client/local/processes.py).  Blocking steps are short or run in a thread, as the proxies share this loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen

from chaos.network.links import HOST
from chaos.opinions.whole_logs import tracebacks_in, whole_log
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_cluster import Plan
from ringmill.client.local.local_forming import wait_local_ready
from ringmill.client.local.local_state import LocalNode, read_token
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.routing.links import IDENTIFY, INIT, STATUS, Link
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse, InitRequest
from ringmill.simulator.checkers.violation import Violation

__all__ = ["QUORUM", "REPLICAS", "RealNodes", "linked", "traceback_violations"]

GONE_S = 20.0
CALL_S = 20.0
POLL_S = 0.1
REPLICAS = 3
QUORUM = 2  # of which keyspaces write to, unless told otherwise
PARTITIONS = 64


@asynccontextmanager
async def linked(address: str) -> AsyncIterator[Link]:
    """A link of one's own to a node."""
    link = open_link(address)
    try:
        yield link
    finally:
        await link.close()


class RealNodes:
    """`count` processes with their data in `folder`.  `crashed`: when each was killed, in the loop's time.

    `unsynced`: bytes that a killed node loses at the end of its log, as a power cut takes them from one
    that acknowledges before its disk has them.  0, unless it is to be shown that a run then fails.
    """

    def __init__(self, folder: str, count: int, *, unsynced: int = 0) -> None:
        base = free_base(2 * count, 8000 + os.getpid() % 800 * 12)  # apart from another run's
        plan = Plan(nodes=count, replicas=REPLICAS, partitions=PARTITIONS, base_port=base)
        self._cluster = local_cluster.planned("chaos", folder, plan)
        self._unsynced = unsynced
        self._handles: dict[str, Popen[bytes]] = {}
        self.names = [node.id for node in self._cluster.nodes]
        self.crashed: dict[str, list[float]] = {name: [] for name in self.names}

    @property
    def ports(self) -> dict[str, tuple[int, int]]:
        """The port that each node listens on, and the port of its proxy."""
        count = len(self.names)
        return {node.id: (node.port, node.port + count) for node in self._cluster.nodes}

    @property
    def pids(self) -> dict[str, int]:
        return {node.id: node.pid for node in self._cluster.nodes if node.id in self._handles}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each node listens itself."""
        return {node.id: node.address for node in self._cluster.nodes}

    @property
    def token(self) -> str:
        return read_token(self._cluster.folder)

    @property
    def proxied(self) -> dict[str, str]:
        """Where others find each node."""
        return {name: f"{HOST}:{proxy}" for name, (_, proxy) in self.ports.items()}

    async def form(self, timeout_s: float, keyspaces: Sequence[KeyspaceEntry] = ()) -> Topology:
        """Start all and give them a first topology that names their proxies.  Raises RingmillError.

        `keyspaces`: beside those that every cluster begins with.
        """
        self.start(self.names)
        async with asyncio.timeout(timeout_s):
            identities = [await self._identity(node) for node in self._cluster.nodes]
        members = [
            Member(NodeId(one.node), DiskId(one.disk), self.proxied[one.node], zone=one.node)
            for one in identities
        ]
        topology = first_topology("chaos", members, partitions=PARTITIONS, n=REPLICAS, keyspaces=keyspaces)
        document = InitRequest(document=topology.encode())
        for node in self._cluster.nodes:
            async with linked(node.address) as link:
                await link.call(INIT, document, CALL_S)
        await self.wait_ready(timeout_s)
        return topology

    def start(self, names: Sequence[str]) -> None:
        """Start those of the named that do not run, on their data; they may not serve yet."""
        stopped = [self._cluster.node(name) for name in names if name not in self._handles]
        self._cluster, started = local_cluster.start_nodes(self._cluster, stopped)
        self._handles |= {one.node.id: one.process for one in started}

    async def kill(self, names: Sequence[str]) -> None:
        """SIGKILL, and wait until they are gone."""
        for name in names:
            node = self._cluster.node(name)
            local_cluster.signal_node(node, signal.SIGKILL)
            del self._handles[name]
        for name in names:
            node = self._cluster.node(name)
            if not await asyncio.to_thread(processes.wait_gone, node.pid, node.started, GONE_S):
                raise RingmillError(f"{name} (pid {node.pid}) is still there {GONE_S:.0f} s after SIGKILL")
            self.crashed[name].append(asyncio.get_running_loop().time())
            if self._unsynced:
                self._cut_log(node)

    def _cut_log(self, node: LocalNode) -> None:
        store = Path(self._cluster.data_folder(node)) / "store"
        newest = max(store.glob("*.log"), key=lambda path: path.name)
        os.truncate(newest, max(0, newest.stat().st_size - self._unsynced))

    def pause(self, name: str) -> None:
        local_cluster.signal_node(self._cluster.node(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        local_cluster.signal_node(self._cluster.node(name), signal.SIGCONT)

    async def wait_ready(self, timeout_s: float) -> None:
        """Until all serve.  Raises RingmillError with the end of its log when one has ended by itself."""
        await wait_local_ready(self._cluster, self._cluster.nodes, self._handles, timeout_s)

    async def hints(self) -> dict[str, int]:
        """How many hints each node keeps.  Raises RingmillError when one does not answer."""
        counts: dict[str, int] = {}
        for node in self._cluster.nodes:
            async with linked(node.address) as link:
                counts[node.id] = (await link.call(STATUS, StatusRequest(), CALL_S)).hints
        return counts

    def tracebacks(self) -> int:
        """How many the nodes have written to their logs, over all their starts."""
        paths = [self._cluster.log_path(node) for node in self._cluster.nodes]
        return sum(tracebacks_in(whole_log(path)) for path in paths)

    def stop(self) -> None:
        """End all of them, whatever state they are in."""
        local_cluster.stop_nodes([self._cluster.node(name) for name in self._handles])

    async def _identity(self, node: LocalNode) -> IdentifyResponse:
        async with linked(node.address) as link:
            while True:
                try:
                    return await link.call(IDENTIFY, IdentifyRequest(), CALL_S)
                except RingmillError:
                    if (code := self._handles[node.id].poll()) is not None:
                        raise RingmillError(f"{node.id} ended while starting, exit code {code}") from None
                    await asyncio.sleep(POLL_S)


def traceback_violations(count: int) -> list[Violation]:
    """A node that writes one has met what it did not expect: no fault excuses it."""
    return [Violation("bug", b"", f"{count} tracebacks in the logs of the nodes")] if count else []
