"""`ringmill cluster …`: the table of verbs on a local cluster."""

from __future__ import annotations

from client.cli.lazy import LazyGroup

__all__ = ["cluster"]

cluster = LazyGroup(
    "cluster",
    {
        "up": ("client.cli.cluster_up:up", "start a local cluster, or what of it is stopped"),
        "form": ("client.cli.cluster_form:form", "make running nodes a cluster, by --endpoints"),
        "down": ("client.cli.cluster_up:down", "stop it; its data is kept"),
        "status": ("client.cli.cluster_status:status", "who is up, what is where"),
        "kill": ("client.cli.cluster_nodes:kill", "end nodes with SIGKILL"),
        "pause": ("client.cli.cluster_nodes:pause", "stop nodes with SIGSTOP: there, but silent"),
        "resume": ("client.cli.cluster_nodes:resume", "let paused nodes go on"),
        "restart": ("client.cli.cluster_nodes:restart", "stop nodes and start them on their data"),
        "logs": ("client.cli.cluster_nodes:logs", "what nodes say"),
        "list": ("client.cli.cluster_status:list_clusters", "local clusters and how many nodes run"),
    },
    "Start, look at and disturb a local cluster: one process a node.",
)
