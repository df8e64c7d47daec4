"""The keyspaces of counters, sets, maps and last writers in a run."""

from __future__ import annotations

from typing import Final

from ringmill.client.checked.merging_plans import MERGING_KEYS
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.simulator.subjects.merging.last_writers import LAST_SPACE

__all__ = ["keyspaces_for"]

_LAST_ORDINAL: Final = 40


def keyspaces_for(n: int) -> tuple[KeyspaceEntry, ...]:
    """One of each policy, `counters`, `sets`, `maps` and `lasts`, read and written at majorities of `n`."""
    majority = n // 2 + 1
    merging = [
        KeyspaceEntry(KeyspaceId(1, ordinal), f"{policy}s", policy=policy, r=majority, w=majority)
        for ordinal, policy in enumerate(MERGING_KEYS, 2)
    ]
    last = KeyspaceEntry(KeyspaceId(1, _LAST_ORDINAL), LAST_SPACE, policy="lww", r=majority, w=majority)
    return (*merging, last)
