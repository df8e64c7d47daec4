"""How often the nodes of a cluster have seen each other dead, by their logs."""

from __future__ import annotations

from pathlib import Path

from chaos.opinions.log_opinions import changes_in
from ringmill.client.local.local_state import LocalCluster

__all__ = ["deaths_told"]


def deaths_told(cluster: LocalCluster) -> int:
    """Each time that one node took another one for down counts."""
    logs = {node.id: Path(cluster.log_path(node)).read_text("utf-8", "replace") for node in cluster.nodes}
    changes = (change for node, log in logs.items() for change in changes_in(node, log.splitlines()))
    return sum(change.state == "down" for change in changes)
