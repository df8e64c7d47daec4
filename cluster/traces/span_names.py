"""What a call is named in traces, whichever carrier it came by."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HANDED_ON", "span_name"]

HANDED_ON: Final = frozenset(
    {
        "bundle.fetch", "clock.tell", "epoch.accept", "epoch.accepted", "epoch.prepare", "job.open",
        "membership.status",
        "shuffle.fetch", "start.tell", "start.who", "swim.ping", "swim.ping_req", "task.cancel", "task.poll",
        "task.report", "task.start", "topology.get", "topology.identify", "topology.know", "topology.offer",
        "topology.pull",
    }
)  # fmt: skip
"""Calls that have no span, as they come by themselves or by the hundred.  What they cause may have one."""


def span_name(method: str) -> str:
    """ "kv.put" of "kv.put" and of "ringmill.v1.Kv/Put"; "jobs.list" of "ringmill.v1.Jobs/List"."""
    _, is_path, row = method.rpartition("ringmill.v1.")
    if not is_path:
        return method
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row).replace("/", ".").lower()
