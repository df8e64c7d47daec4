"""The keyspaces of counters, sets and maps in a run."""

from __future__ import annotations

from ringmill.client.checked.merging_plans import MERGING_KEYS
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.topology_entries import KeyspaceEntry

__all__ = ["keyspaces_for"]


def keyspaces_for(n: int) -> tuple[KeyspaceEntry, ...]:
    """One of each policy, `counters`, `sets` and `maps`, read and written at majorities of `n`."""
    majority = n // 2 + 1
    return tuple(
        KeyspaceEntry(KeyspaceId(1, ordinal), f"{policy}s", policy=policy, r=majority, w=majority)
        for ordinal, policy in enumerate(MERGING_KEYS, 2)
    )
