"""All services of one node as tables, which the gRPC server of a real node and the simulator both serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringmill.cluster.access.raw_tokens import raw_caller
from ringmill.node.assembly import Node
from ringmill.node.metrics.families import families_of
from ringmill.node.metrics.metered_tables import metered
from ringmill.node.metrics.metric_messages import metric_messages
from ringmill.node.metrics.process_meters import ProcessMeters
from ringmill.node.services.access.auth_service import AuthService
from ringmill.node.services.access.guarded_tables import CallerOf, guarded
from ringmill.node.services.backups.backup_service import BackupService
from ringmill.node.services.explain_service import ExplainService
from ringmill.node.services.figures import figures_of
from ringmill.node.services.jobs_service import JobsService
from ringmill.node.services.keyspaces_service import KeyspacesService
from ringmill.node.services.members_service import MembersService
from ringmill.node.services.membership_service import MembershipService
from ringmill.node.services.repair_service import RepairService
from ringmill.node.services.scans_service import ScansService
from ringmill.node.services.table import Service
from ringmill.node.services.topology_service import NodeCard, TopologyService
from ringmill.node.traces.traced_tables import traced

__all__ = ["ProcessFacts", "service_tables"]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Facts about the process that its node does not know.

    `complaint` is a sentence; "" while all is well.  `containment` says how far tasks are contained.
    """

    pid: int
    version: str
    complaint: Callable[[], str]
    containment: str = ""
    meters: ProcessMeters | None = None
    code: str = ""  # differs where the code of nodes does


def service_tables(
    node: Node, process: ProcessFacts, caller_of: CallerOf | None = None
) -> tuple[Service, ...]:
    """Each method asks first who calls (`caller_of`) and whether that one may.

    Unless it is given, a caller is known by a token that comes as it is.
    """
    secret, control = node.core.secret, node.access
    who = caller_of or (lambda metadata, _: raw_caller(secret.text, metadata, control))
    tables = guarded(_open_tables(node, process), control, who)
    tables = metered(tables, node.core.meter, node.core.clock)
    tracer = node.core.doors.tracer
    return tables if tracer is None else traced(tables, tracer)


def _open_tables(node: Node, process: ProcessFacts) -> tuple[Service, ...]:
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
        figures=lambda: figures_of(
            node.replica,
            membership,
            node.repair,
            node.jobs,
            complaints=(process.complaint(), node.core.gate.reason, node.compute.complaint),
            denied=node.access.denied,
            containment=process.containment,
        ),
        metrics=lambda: metric_messages(families_of(node, process.version, process.meters, process.code)),
        sizes=node.replica.objects.partition_sizes,
        pace=lambda: node.moves.mover.pace,
        heat=node.core.heat.report,
        pid=process.pid,
        clock=node.core.clock,
    )
    return (
        node.kv.service(),
        node.registers.service(),
        ScansService(node.core, node.requests).service(),
        ExplainService(node.core, node.requests).service(),
        TopologyService(
            card,
            membership.topology,
            membership.history,
            node.core.hybrid,
            is_leaving=lambda: membership.liveness.is_leaving,
        ).service(),
        KeyspacesService(membership).service(),
        MembersService(membership, node.moves).service(),
        status.service(),
        RepairService(
            config.id, replica=node.replica, repair=node.repair, topology=membership.topology
        ).service(),
        JobsService(node.jobs, node.compute.bundles, node.core.options.worker.containment.refusal).service(),
        AuthService(membership, node.core.hybrid).service(),
        BackupService(
            card, backups=node.backups, requests=node.requests, topology=membership.topology
        ).service(),
    )
