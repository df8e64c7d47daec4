"""A pass for what is dead is of one copy: the next copy has a pass of its own, whatever became of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair.forgetting import Forgetting
from ringmill.node.replica.stored_key import Copy, parse_copy

NODE, PARTITION, PROVEN = NodeId("n1"), PartitionId(3), HybridTime(1 << 40)


class Passes:
    """An engine that notes which copies were read, and a store that may hold what is dead."""

    def __init__(self) -> None:
        self.read: list[Copy] = []
        self.is_counted, self.heals, self.size_bytes, self.dead = True, 0, 0, self

    async def scan(self, start: bytes, end: bytes) -> AsyncGenerator[tuple[bytes, bytes], None]:
        self.read.append(parse_copy(start))
        for pair in dict[bytes, bytes]().items():
            yield pair

    def may_hold_dead(self, copy: Copy, mark_ms: int) -> bool:
        return True

    def scan_begins(self, copy: Copy) -> int:
        return 0

    def scanned(self, copy: Copy, first_ms: int) -> None:
        """Nothing is noted."""


async def test_a_copy_that_comes_later_is_passed_though_the_watermark_is_the_same() -> None:
    view: Any = SimpleNamespace(
        current=first_topology(
            "demo", [Member(NODE, DiskId("1" * 32), "127.0.0.1:7000")], partitions=16, n=1, r=1, w=1
        )
    )
    marks: Any = SimpleNamespace(known=lambda: {PARTITION: SimpleNamespace(proven=PROVEN)})
    passes: Any = Passes()
    gate: Any = SimpleNamespace(stretch=1.0)
    forgetting = Forgetting(
        NODE,
        engine=passes,
        objects=passes,
        watermarks=marks,
        topology=view,
        options=PurgeOptions(),
        gate=gate,
    )
    for _ in range(2):
        await forgetting.round()
    assert passes.read == [Copy(PARTITION, Epoch(1))], "one pass for one watermark"
    later = tuple(replace(row, copy_epochs=(Epoch(5),)) for row in view.current.rows)
    view.current = replace(view.current, epoch=Epoch(5), rows=later)
    await forgetting.round()
    assert passes.read[1:] == [Copy(PARTITION, Epoch(5))]
