"""Data folders that are not what they seem: an older copy put back, a copy started beside, a store lost.

The first two are done only once members remember what the copy lacks, and enough of them: what nobody was
told of can be noticed by nobody (docs/operations.md says how long that is).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import Final

from ringmill.cluster.ids import Start
from ringmill.cluster.membership.starts import (
    EARLIER_STARTS,
    Announcement,
    FoundLogs,
    LogMark,
    Verdict,
    judge,
    others_needed,
)
from ringmill.node.identity.identity import read_identity
from ringmill.node.storage.recovery.found_logs import found_logs
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.network import Network
from ringmill.simulator.node_process import DATA, NodeProcess
from ringmill.simulator.trace import Trace

__all__ = ["FolderFaults"]

_LONGEST_WAIT_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.05
_OF_ALL: Final = 1 / 3  # of the restores come with a power cut of the whole cluster
_ALONE: Final = 1 / 4  # of the restored nodes are cut off from the others


class FolderFaults:
    """`copies` are the processes that were started beside others."""

    def __init__(
        self, nodes: Mapping[str, NodeProcess], network: Network, trace: Trace, draws: Random
    ) -> None:
        self._nodes = nodes
        self._network = network
        self._trace = trace
        self._draws = draws
        self.copies: list[NodeProcess] = []
        self._cut_off: list[str] = []

    async def restore(self, name: str, kind: str) -> None:
        """Put back a copy of a node's folder, taken live or after an orderly stop, and start on it."""
        node = self._nodes[name]
        kept = await self._copy(node)
        if kept is None or not await self._is_outdated(node, kept):
            return
        self._trace.fault(kind, name)
        fallen = list(self._nodes.values()) if self._draws.random() < _OF_ALL else [node]
        for each in fallen:
            each.kill(CrashModel.PREFIX)
        node.disk.put_back(kept)
        if self._draws.random() < _ALONE:
            self._cut_off.append(name)
            self.keep_cut_off()
        await asyncio.sleep(self._draws.random())
        for each in fallen:
            if each.run is None:
                each.start()

    async def lose_store(self, name: str, kind: str) -> None:
        """Empty a node's store, or put an older copy of it back, under the identity that is there."""
        node = self._nodes[name]
        if not node.is_running or node.node is None:
            return
        older = node.disk.lossy.after_kill() if self._draws.random() < 0.5 else None
        await node.stop()
        if older is not None and self._draws.random() < 0.5:
            if node.run is None:
                node.start()
            with suppress(RuntimeError):  # it ended again
                await node.up()
            node.kill(None)
        if node.run is None:
            self._trace.fault(kind, name)
            node.disk.put_back(node.disk.lossy.after_kill())
            node.disk.make_room()
            replace_store(node.disk.lossy, older)
            await asyncio.sleep(self._draws.random())
            if node.run is None:
                node.start()

    def keep_cut_off(self) -> None:
        """Some never reach a member again that could tell them; clients do."""
        for name in self._cut_off:
            for other in self._nodes:
                if other != name:
                    self._network.link(name, other).is_cut = self._network.link(other, name).is_cut = True

    async def copy(self, name: str, kind: str) -> None:
        """Start a process on a copy of a running node's folder, under another address."""
        node = self._nodes[name]
        if not node.is_running or node.node is None:
            return
        kept = node.disk.lossy.after_kill()
        if await self._is_outdated(node, kept, spared=0):  # who knows nothing against it may take it up
            self._trace.fault(kind, name)
            twin = node.beside(kept, f"{name}-copy{len(self.copies)}")
            self.copies.append(twin)
            node.has_twin = True
            twin.start()

    async def _copy(self, node: NodeProcess) -> LossyDisk | None:
        if not node.is_running or node.node is None:
            return None
        if self._draws.random() < 0.5:
            return node.disk.lossy.after_kill()
        await node.stop()
        kept = node.disk.lossy.after_kill()
        if node.run is None:
            node.start()
        return kept

    async def _is_outdated(self, node: NodeProcess, kept: LossyDisk, *, spared: int | None = None) -> bool:
        """Wait until all others but `spared` remember what the copy lacks.

        By default as many are spared as leave one who knows in any half of them.
        """
        told = _announced_by(node, kept)
        if told is None:
            return False
        others_count = len(self._nodes) - 1
        least = others_count - (others_needed(len(self._nodes)) - 1 if spared is None else spared)
        for _ in range(int(_LONGEST_WAIT_S / _LOOK_EVERY_S)):
            others = [each.node for each in self._nodes.values() if each is not node and each.node]
            known = [other.membership.starts.remembered(told.disk) for other in others]
            if sum(judge(each, told) is Verdict.OLD_COPY for each in known) >= least:
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False


def replace_store(disk: LossyDisk, older: LossyDisk | None) -> None:
    """All of the store's files go; those of an older disk come."""
    store = f"{DATA}/store"
    if not disk.is_dir(store):
        return
    for name in disk.list(store):
        if not disk.is_dir(f"{store}/{name}"):
            disk.unlink(f"{store}/{name}")
    if older is not None:
        for name in older.list(store):
            if not older.is_dir(f"{store}/{name}"):
                file = disk.create(f"{store}/{name}")
                file.append(older.read_bytes(f"{store}/{name}"))
                file.sync()
    disk.fsync_dir(store)


def _announced_by(node: NodeProcess, kept: LossyDisk) -> Announcement | None:
    """What the next start on a copy would tell of itself."""
    record = read_identity(kept, DATA)
    if record is None:
        return None
    highest, logs = found_logs(kept, f"{DATA}/store")
    earlier = (record.start, *record.earlier)[:EARLIER_STARTS]
    found = FoundLogs(highest, tuple(LogMark(*log) for log in logs))
    return Announcement(node.name, record.disk, Start(record.start.number + 1, "copied"), earlier, found)
