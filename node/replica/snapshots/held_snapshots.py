"""Snapshots of this node's store that are kept while a job reads them (rule J27: docs/protocol/jobs.md).

A snapshot shows one moment of the store.  It speaks for the copies that this node had then, whole and
readable: a copy that came later was not there, and what was healed later was written again after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import NotFound, Overloaded
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.node.contracts import TopologyView
from ringmill.node.replica.stored_key import Copy, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.version.snapshots import Snapshot

__all__ = ["MOST_HELD", "UNUSED_S", "HeldSnapshots"]

UNUSED_S: Final = 120.0
"""What nobody has asked for as long is released; a coordinator asks every 20 s.  Chosen, not measured."""
MOST_HELD: Final = 16


@dataclass(slots=True)
class _Held:
    snapshot: Snapshot
    copies: Mapping[PartitionId, Epoch]  # the epochs of the copies that it speaks for
    ending: asyncio.TimerHandle | None = None


class HeldSnapshots:
    def __init__(self, node: NodeId, *, engine: Engine, topology: TopologyView) -> None:
        self._node = node
        self._engine = engine
        self._topology = topology
        self._held: dict[str, _Held] = {}

    def hold(self, name: str) -> list[PartitionId]:
        """Take the snapshot of this name, unless it is there; returns the partitions that it speaks for.

        Raises Overloaded, Unavailable before there is a topology.
        """
        held = self._held.get(name)
        if held is None:
            if len(self._held) >= MOST_HELD:
                raise Overloaded(
                    f"{self._node} keeps {MOST_HELD} snapshots already",
                    hint=f"wait for the jobs that read them; one that nobody reads ends after {UNUSED_S:g} s",
                )
            topology = self._topology.serving_topology()
            owned = [
                Copy(PartitionId(number), row.copy_epoch_of(self._node))
                for number, row in enumerate(topology.rows)
                if self._node in row.readers
            ]
            copies = {copy.partition: copy.copy_epoch for copy in owned if not self._may_lack(copy)}
            held = _Held(self._engine.snapshot(), copies)
            self._held[name] = held
        self._end_later(name, held)
        return sorted(held.copies)

    def keep(self, name: str) -> None:
        """Hold it for a while longer.  Raises NotFound."""
        self._end_later(name, self._found(name))

    def of(self, name: str, copy: Copy) -> Snapshot:
        """The snapshot, to read a copy.  Raises NotFound when it is gone, or does not speak for this copy."""
        held = self._found(name)
        if held.copies.get(copy.partition) != copy.copy_epoch:
            raise NotFound(
                f"{self._node} did not have partition {copy.partition} whole in snapshot {name[:80]}"
            )
        if self._may_lack(copy, held.snapshot):
            raise NotFound(
                f"{self._node} has found damage in partition {copy.partition} since snapshot {name[:80]}"
            )
        self._end_later(name, held)
        return held.snapshot

    def release(self, name: str) -> None:
        """One that is gone is no error."""
        held = self._held.pop(name, None)
        if held is not None:
            if held.ending is not None:
                held.ending.cancel()
            held.snapshot.release()

    def _may_lack(self, copy: Copy, snapshot: Snapshot | None = None) -> bool:
        prefix = copy_prefix(copy)
        return self._engine.may_lack(prefix, prefix_end(prefix), snapshot)

    def _found(self, name: str) -> _Held:
        held = self._held.get(name)
        if held is None:
            raise NotFound(
                f"{self._node} has no snapshot {name[:80]}: it was down when the job began, has been "
                f"started again, or was not asked for {UNUSED_S:g} s"
            )
        return held

    def _end_later(self, name: str, held: _Held) -> None:
        if held.ending is not None:
            held.ending.cancel()
        held.ending = asyncio.get_running_loop().call_later(UNUSED_S, self.release, name)
