"""All services of one node as tables: what the gRPC server of a real node and the simulator serve alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringmill.node.assembly import Node
from ringmill.node.services.jobs_service import JobsService
from ringmill.node.services.membership_service import MembershipService, NodeFigures
from ringmill.node.services.table import Service
from ringmill.node.services.topology_service import NodeCard, TopologyService

__all__ = ["ProcessFacts", "service_tables"]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What the process knows and its node does not.  `complaint` is a sentence, "" while all is well."""

    pid: int
    version: str
    complaint: Callable[[], str]


def service_tables(node: Node, process: ProcessFacts) -> tuple[Service, ...]:
    config, membership = node.core.config, node.membership
    card = NodeCard(
        node=config.id,
        disk=node.identity.disk,
        start=node.identity.start,
        address=config.address,
        zone=config.zone,
        version=process.version,
    )
    status = MembershipService(
        config.id,
        agent=membership.topology,
        liveness=membership.liveness,
        figures=lambda: _figures(node, process),
        pid=process.pid,
        clock=node.core.clock,
    )
    return (
        node.kv.service(),
        TopologyService(card, membership.topology).service(),
        status.service(),
        JobsService(node.jobs, node.compute.bundles, config.token).service(),
    )


def _figures(node: Node, process: ProcessFacts) -> NodeFigures:
    """Counts of a damaged store may be off until it is healed; they are for people and never below 0."""
    replica, healing = node.replica, node.repair.healing
    stats = replica.engine.stats()
    return NodeFigures(
        keys=max(0, replica.objects.keys),
        bytes=max(0, replica.objects.size_bytes),
        hints_by_node=replica.hints.counts(),
        coordinator=node.jobs.taker or "",
        damaged_ranges=len(replica.engine.corrupt_ranges()),
        healing=healing.now,
        reasons=_reasons(node, process),
        is_counting=not replica.objects.is_counted,
        engine=stats.figures(),
        engine_failure=stats.counters.last_failure,
    )


def _reasons(node: Node, process: ProcessFacts) -> list[str]:
    """Why this node is less than well, each a sentence without its name."""
    reasons = [complaint] if (complaint := process.complaint()) else []
    reasons += node.membership.watch.reasons
    engine, healing = node.replica.engine, node.repair.healing
    damaged = len(engine.corrupt_ranges())
    if damaged:
        now = f", healing {healing.now}" if healing.now else ""
        reasons.append(f"{damaged} damaged key ranges wait to be healed from the other owners{now}")
    if engine.read_only_reason:
        reasons.append(f"takes no writes: {engine.read_only_reason}")
    return reasons
