"""`ringmill cluster …`: the table of verbs on a local cluster."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["cluster"]

LOCAL = "token_file"
AT_ONCE = "token_file timeout"
EVERY = "cluster token_file timeout"
HIDDEN = "endpoints"  # refused by client/cli/cluster/local_verbs.py, also when it comes from the environment

cluster = LazyGroup(
    "cluster",
    {
        "up": Verb(
            "ringmill.client.cli.cluster.cluster_up:up",
            "start a local cluster, or what of it stopped",
            LOCAL,
            HIDDEN,
        ),
        "form": Verb(
            "ringmill.client.cli.cluster.cluster_form:form",
            "make running nodes a cluster, by --endpoints",
            "token_file",
        ),
        "down": Verb(
            "ringmill.client.cli.cluster.cluster_up:down", "stop it; its data is kept", AT_ONCE, HIDDEN
        ),
        "status": Verb(
            "ringmill.client.cli.cluster.cluster_status:status", "who is up, what is where", "token_file"
        ),
        "kill": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:kill", "end nodes with SIGKILL", AT_ONCE, HIDDEN
        ),
        "pause": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:pause",
            "stop nodes with SIGSTOP: silent",
            AT_ONCE,
            HIDDEN,
        ),
        "resume": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:resume", "let paused nodes go on", AT_ONCE, HIDDEN
        ),
        "restart": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:restart", "stop nodes, start them again", LOCAL, HIDDEN
        ),
        "logs": Verb("ringmill.client.cli.cluster.cluster_nodes:logs", "what nodes say", AT_ONCE, HIDDEN),
        "list": Verb(
            "ringmill.client.cli.cluster.cluster_status:list_clusters",
            "local clusters and which run",
            EVERY,
            HIDDEN,
        ),
    },
    "Start, look at and disturb a local cluster: one process a node.",
)
