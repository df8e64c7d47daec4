"""`ringmill cluster …`: the table of verbs on a local cluster."""

from __future__ import annotations

from ringmill.client.cli.lazy import NO_NODE, LazyGroup, Verb

__all__ = ["cluster"]

LOCAL = NO_NODE
AT_ONCE = f"{NO_NODE} timeout"
EVERY = f"cluster {NO_NODE} timeout"
HIDDEN = "endpoints"  # refused by client/cli/cluster/local_verbs.py, also when it comes from the environment

cluster = LazyGroup(
    "cluster",
    {
        "up": Verb(
            "ringmill.client.cli.cluster.cluster_up:up",
            "start a local cluster, or its stopped nodes",
            LOCAL,
            HIDDEN,
        ),
        "form": Verb(
            "ringmill.client.cli.cluster.cluster_form:form",
            "form a cluster of running nodes (--members)",
        ),
        "join-token": Verb(
            "ringmill.client.cli.cluster.join_token:join_token",
            "print a token by which a node on a new host may join",
        ),
        "down": Verb(
            "ringmill.client.cli.cluster.cluster_up:down",
            "stop the nodes and keep their data",
            AT_ONCE,
            HIDDEN,
        ),
        "status": Verb(
            "ringmill.client.cli.cluster.cluster_status:status",
            "show which nodes are up and what they hold",
        ),
        "stop": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:stop",
            "stop nodes in order, so that no request fails",
            AT_ONCE,
            HIDDEN,
        ),
        "kill": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:kill",
            "kill nodes with SIGKILL, as a crash would",
            AT_ONCE,
            HIDDEN,
        ),
        "pause": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:pause",
            "pause nodes with SIGSTOP",
            AT_ONCE,
            HIDDEN,
        ),
        "resume": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:resume", "resume paused nodes", AT_ONCE, HIDDEN
        ),
        "restart": Verb(
            "ringmill.client.cli.cluster.cluster_nodes:restart",
            "stop nodes and start them again, with --rolling one after the other",
            LOCAL,
            HIDDEN,
        ),
        "chaos": Verb(
            "ringmill.client.cli.chaos.cluster_chaos:chaos",
            "kill, pause and restart nodes under a checked load",
            LOCAL,
            HIDDEN,
        ),
        "logs": Verb(
            "ringmill.client.cli.cluster.cluster_logs:logs", "show the logs of nodes", AT_ONCE, HIDDEN
        ),
        "replace": Verb(
            "ringmill.client.cli.ring.ring_replace:replace",
            "fill a node that lost its disk, or put another in its place",
        ),
        "recover": Verb(
            "ringmill.client.cli.cluster.cluster_recover:recover",
            "go on without members that had most of the votes, or are half of all",
        ),
        "add": Verb(
            "ringmill.client.cli.ring.ring_members:add",
            "add a node, and move partitions to it",
        ),
        "remove": Verb(
            "ringmill.client.cli.ring.ring_members:remove",
            "move all partitions of a node away, and take it out",
        ),
        "rebalance": Verb(
            "ringmill.client.cli.ring.ring_members:rebalance",
            "move what is out of balance, by other weights or zones",
        ),
        "autoscale": Verb(
            "ringmill.client.cli.cluster.cluster_autoscale:autoscale",
            "add nodes under pressure, and remove them when idle",
            LOCAL,
            HIDDEN,
        ),
        "moves": Verb(
            "ringmill.client.cli.ring.ring_moves:moves",
            "show, pause, resume or give up moves of partitions",
        ),
        "list": Verb(
            "ringmill.client.cli.cluster.cluster_status:list_clusters",
            "list local clusters",
            EVERY,
            HIDDEN,
        ),
    },
    "Start, watch and disturb a local cluster, which has one process per node.",
)
