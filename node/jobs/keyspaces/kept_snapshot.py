"""The snapshot that a job reads its keyspace from: taken when it is planned, kept until it is over.

Rule J27: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.node.contracts import KeyspaceAccess

__all__ = ["keep_snapshot", "snapshot_name"]

_KEEP_EVERY_S: Final = 20.0


def snapshot_name(spec: JobSpec) -> str:
    """Of a job that reads a snapshot, once it is planned; empty for others."""
    return f"{spec.job}.{spec.planned}" if spec.reads_snapshot else ""


async def keep_snapshot(spec: JobSpec, keyspaces: KeyspaceAccess) -> None:
    """Until cancelled.  Whoever takes the job over goes on with it."""
    while True:
        await keyspaces.keep_snapshot(snapshot_name(spec))
        await asyncio.sleep(_KEEP_EVERY_S)
