"""One comparison of this node with another owner, of many partitions, for whatever reason it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ringmill.cluster.errors import RingmillError, reason_of
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row
from ringmill.node.repair.exchange import Exchange
from ringmill.node.replica.comparing.exchange_messages import DIFFER, EQUAL

__all__ = ["compare_with"]


async def compare_with(
    peer: NodeId,
    rows: Mapping[PartitionId, Row],
    *,
    exchange: Exchange,
    at_once: int,
    mend: Callable[[PartitionId, Row], Awaitable[None]],
    equal: Callable[[PartitionId], None],
    unequal: Callable[[PartitionId, str], None],
) -> None:
    """Have the other owner judge the sums of these partitions, and `mend` those that differ, some at a time.

    Of each partition one is told how it ended: `equal`, when both hold on their disks what either held when
    this began, or `unequal` with the reason when that is not known.

    Raises what is no RingmillError or OSError.
    """
    roots = []
    for partition, row in rows.items():
        root = exchange.root(partition, row)
        if root is None:
            unequal(partition, "damaged, or not counted yet, on this node")
        else:
            roots.append(root)
    if not roots:
        return
    try:
        verdicts = await exchange.compare_roots(peer, roots)
    except (RingmillError, OSError) as error:
        for one in roots:
            unequal(one.partition, reason_of(error))
        return
    slots = asyncio.Semaphore(at_once)

    async def mended(partition: PartitionId) -> None:
        async with slots:
            try:
                await mend(partition, rows[partition])
            except (RingmillError, OSError) as error:
                unequal(partition, reason_of(error))
            else:
                equal(partition)

    works: list[Awaitable[None]] = []
    for one, verdict in zip(roots, verdicts, strict=True):
        if verdict == EQUAL:
            equal(one.partition)
        elif verdict == DIFFER:
            works.append(mended(one.partition))
        else:
            unequal(one.partition, "damaged, or not counted yet, on the other node")
    await gather_all(works)
