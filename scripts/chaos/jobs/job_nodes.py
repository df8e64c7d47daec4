"""The nodes of a local cluster while jobs run on it: killed, paused, and back again.

Signals go to processes that the cluster's record names, by pid and start mark (client/local/processes.py).
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

from chaos.opinions.whole_logs import tracebacks_in, whole_log
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_forming import wait_local_ready
from ringmill.client.local.local_state import LocalCluster

__all__ = ["JobNodes"]

PATIENT_S: Final = 90.0
GONE_S: Final = 10.0


class JobNodes:
    """`killed` and `paused` are the nodes that are away now."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.killed: list[str] = []
        self.paused: list[str] = []

    @property
    def names(self) -> list[str]:
        return [node.id for node in self.cluster.nodes]

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.cluster.nodes]

    def pid_of(self, name: str) -> int:
        return self.cluster.node(name).pid

    def scratch_of(self, name: str) -> Path:
        """Where the attempts of a node work."""
        return Path(self.cluster.data_folder(self.cluster.node(name)), "scratch")

    def kill(self, name: str) -> None:
        """SIGKILL; it is away until `restored`."""
        local_cluster.signal_node(self.cluster.node(name), signal.SIGKILL)
        self.killed.append(name)

    def pause(self, name: str) -> None:
        """SIGSTOP; it is away until `resume` or `restored`."""
        local_cluster.signal_node(self.cluster.node(name), signal.SIGSTOP)
        self.paused.append(name)

    def resume(self, name: str) -> None:
        self.paused.remove(name)
        local_cluster.signal_node(self.cluster.node(name), signal.SIGCONT)

    async def restored(self) -> None:
        """All nodes run and serve.  Raises RingmillError with the end of its log when one has ended by
        itself."""
        while self.paused:
            self.resume(self.paused[0])
        away = [self.cluster.node(name) for name in self.killed]
        for node in away:
            await asyncio.to_thread(processes.wait_gone, node.pid, node.started, GONE_S)
        self.cluster, started = await asyncio.to_thread(local_cluster.start_nodes, self.cluster, away)
        self.killed.clear()
        if started:
            handles = {one.node.id: one.process for one in started}
            await wait_local_ready(self.cluster, [one.node for one in started], handles, PATIENT_S)

    def tracebacks(self) -> int:
        """How many the nodes have written to their logs, over all their starts."""
        return sum(tracebacks_in(whole_log(self.cluster.log_path(node))) for node in self.cluster.nodes)
