"""How often the nodes of a cluster have seen each other dead, by their logs."""

from __future__ import annotations

from chaos.opinions.log_opinions import changes_in
from chaos.opinions.whole_logs import whole_log
from ringmill.client.local.local_state import LocalCluster

__all__ = ["deaths_told"]


def deaths_told(cluster: LocalCluster) -> int:
    """Each time that one node took another one for down counts."""
    logs = {node.id: whole_log(cluster.log_path(node)) for node in cluster.nodes}
    changes = (change for node, log in logs.items() for change in changes_in(node, log.splitlines()))
    return sum(change.state == "down" for change in changes)
