"""All metrics of a node.  A new one is a line in the file of its theme, and one in docs/monitoring.md."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

from ringmill.cluster.access.cluster_secret import accepted_secrets
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.meters.family import Family, Sample, by_label, counter, gauge, histogram
from ringmill.cluster.ring.partition_health import count_partitions
from ringmill.cluster.ring.topology import Topology
from ringmill.node.assembly import Node
from ringmill.node.metrics.process_meters import ProcessMeters
from ringmill.node.metrics.request_families import request_families
from ringmill.node.metrics.storage_families import storage_families
from ringmill.node.metrics.upkeep_families import job_families, upkeep_families

__all__ = ["families_of"]


def families_of(node: Node, version: str, meters: ProcessMeters | None, code: str) -> Sequence[Family]:
    """What the rooms of a node count, as it is now."""
    return [
        *_about(node, version, code),
        *request_families(node, meters),
        *_cluster(node),
        *upkeep_families(node),
        *storage_families(node, meters),
        *job_families(node),
        *([] if meters is None else _process(meters)),
    ]


def _about(node: Node, version: str, code: str) -> Iterator[Family]:
    build = {"version": version, "python": platform.python_version(), "code": code}
    yield Family("build", "info", "What runs here", [Sample(1.0, build)], tuple(build))
    topology = node.membership.topology.current
    name = "" if topology is None else topology.name
    about = {"node": str(node.core.node), "cluster": name, "zone": node.core.config.zone}
    yield Family("node", "info", "Which node this is", [Sample(1.0, about)], tuple(about))


def _cluster(node: Node) -> Iterator[Family]:
    membership = node.membership
    topology = membership.topology.current
    yield gauge(
        "epoch", "Epoch of the topology; 0 before there is one", topology.epoch if topology is not None else 0
    )
    yield by_label(
        "gauge", "partitions", "Partitions of the cluster, as this node sees them", "state",
        {} if topology is None else _health(node, topology),
    )  # fmt: skip
    up = (
        {}
        if topology is None
        else {
            str(member.id): float(membership.liveness.state(member.id) is MemberState.UP)
            for member in topology.members
        }
    )
    yield by_label("gauge", "member_up", "1 for each member that seems up to this node, else 0", "member", up)
    yield gauge(
        "owned_partitions",
        "Partitions of which this node is an owner",
        0 if topology is None else topology.owned_by(node.core.node),
    )
    yield gauge(
        "clock_offset_seconds",
        "How far this clock is ahead of the median of all; none before they were compared",
        membership.watch.apart_s,
    )
    yield gauge(
        "accepted_secrets",
        "Secrets of the cluster that this node accepts: 2 while they are rotated, 0 without a token",
        len(accepted_secrets(node.core.secret.text)),
    )


def _health(node: Node, topology: Topology) -> dict[str, float]:
    counts = count_partitions(topology, node.membership.liveness.is_up)
    return {
        "complete": float(counts.ok),
        "under_replicated": float(counts.under_replicated),
        "no_quorum": float(counts.no_quorum),
    }


def _process(meters: ProcessMeters) -> Iterator[Family]:
    yield histogram(
        "event_loop_lag_seconds", "How late the event loop turns; sampled twice a second", meters.lags
    )
    yield counter(
        "event_loop_stalls_total", "Times that the event loop stood still for a second", meters.stalls()
    )
    yield gauge(
        "certificate_end_timestamp_seconds",
        "When the node's certificate ends, since 1970; none without TLS",
        meters.certificate_ends_at(),
    )
