"""Combines what each node reports about itself and about the others into one status of the cluster.

`combine` is pure.  It takes the worst report about each node, so that an operator sees a cut before it heals,
with three exceptions.  A node that answers is at worst suspect, never down.  A node that reports most of the
answering nodes as down is itself cut off, so its reports about them and about the partitions are ignored.
A node is slow when most of the others that answer say so.
`cluster_status` asks every member.  Keys, bytes, hints and reasons of a node are its own report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ringmill.client.administration.asking import ask_everybody
from ringmill.client.routing.directory import Directory, none_reachable
from ringmill.client.routing.links import STATUS
from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Member, Topology
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest, StatusResponse

__all__ = ["ClusterStatus", "NodeStatus", "Ranges", "checked_status", "cluster_status", "combine"]

Answers = Mapping[str, StatusResponse | RingmillError]
STATES = ("up", "slow", "suspect", "down")


@dataclass(frozen=True, slots=True)
class Ranges:
    """Partitions by how many of their owners are up."""

    ok: int
    under_replicated: int
    no_quorum: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The status of one member; the figures are None when it did not answer."""

    id: str
    address: str
    state: str
    membership: str
    owns: int
    pid: int | None = None
    keys: int | None = None
    bytes: int | None = None
    hints: int | None = None
    uptime_s: float | None = None
    zone: str = ""
    damaged_ranges: int | None = None
    healing: str = ""
    is_counting: bool = False  # keys and bytes are lower bounds while the node still counts
    engine: Mapping[str, int] = field(default_factory=dict)  # figures of the storage engine, by name
    engine_failure: str = ""  # its last flush or compaction that failed
    unfilled: int | None = None  # partitions that wait to be filled from other owners
    tombstones: int | None = None  # deleted keys that it has not forgotten yet
    purge_held_back: str = ""  # why it has not, in words
    epoch: int | None = None  # of the newest topology that it knows
    containment: str = ""  # how far it contains the tasks of jobs, in words
    awaited_hints: int = 0  # hints that wait on other members for it
    denied: int | None = None  # requests that it refused as their client may not make them
    removing: str = ""  # where dropped keyspaces may have left something, in words


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as its members see it.  `health` is ok, degraded or unavailable.

    Partitions that move are complete meanwhile, so they do not count against it: `moving` counts them,
    and those that wait for it.
    """

    cluster: str
    epoch: int
    n: int
    health: str
    reasons: tuple[str, ...]
    coordinator: str
    ranges: Ranges
    nodes: tuple[NodeStatus, ...]
    voters: tuple[str, ...] = ()  # of the members, those who decide on the next epoch
    moving: int = 0

    def to_dict(self) -> dict[str, object]:
        """The status as JSON values."""
        lists = {"reasons": list(self.reasons), "voters": list(self.voters)}
        return {**asdict(self), **lists, "nodes": [asdict(node) for node in self.nodes]}

    def keys_by_node(self) -> dict[NodeId, int]:
        """How many keys each node that answered holds."""
        return {NodeId(node.id): node.keys for node in self.nodes if node.keys is not None}

    @property
    def hints(self) -> int:
        """The number of undelivered hints on all nodes that answered."""
        return sum(node.hints or 0 for node in self.nodes)


def checked_status(status: ClusterStatus | None) -> ClusterStatus | None:
    """A status that a caller has, if any.  Raises InvalidArgument for anything else."""
    if status is not None and not isinstance(status, ClusterStatus):
        raise InvalidArgument(
            f"status is of type {type(status).__name__}, need a ClusterStatus",
            hint="leave it out, or pass what status() told",
        )
    return status


async def cluster_status(
    directory: Directory, timeout_s: float, *, waits: bool = True, unheard: Collection[NodeId] = ()
) -> ClusterStatus:
    """Ask every member at once, by the newest topology that they tell of.

    Without `waits` one that was silent before is not waited for that long.  What those in `unheard` say of
    themselves and of others counts for nothing.  Raises Unavailable when none answers in `timeout_s`.
    """

    async def ask(address: str, left_s: float) -> StatusResponse:
        return await directory.link(address).call(STATUS, StatusRequest(), left_s)

    topology, answers = await ask_everybody(
        directory, ask, lambda answer: answer.epoch, timeout_s, waits=waits
    )
    for node in unheard:
        if topology.has_member(node):
            answers[topology.member(node).address] = Unavailable(f"{node} is not heard")
    if all(isinstance(answer, RingmillError) for answer in answers.values()):
        raise none_reachable([*answers], {address: str(answer) for address, answer in answers.items()})
    return combine(topology, answers)


def combine(topology: Topology, answers: Answers) -> ClusterStatus:
    """The status of the cluster from the answers, at least one."""
    views = [answer for answer in answers.values() if isinstance(answer, StatusResponse)]
    assert views, "nobody answered"
    cut_off = {view.node: called for view in views if (called := _cut_off_from(view, views))}
    heard = [view for view in views if view.node not in cut_off] or views
    nodes = tuple(_node(member, topology, answers, heard, cut_off) for member in topology.members)
    ranges = Ranges(
        ok=min(view.ranges_ok for view in heard),
        under_replicated=max(view.ranges_under_replicated for view in heard),
        no_quorum=max(view.ranges_no_quorum for view in heard),
    )
    reasons = _reasons(nodes, ranges, views, _disputes(views, heard, cut_off))
    return ClusterStatus(
        cluster=topology.name,
        epoch=max(view.epoch for view in views),
        n=topology.n,
        health="unavailable" if ranges.no_quorum else "degraded" if reasons else "ok",
        reasons=reasons,
        coordinator=next((view.coordinator for view in views if view.coordinator), ""),
        ranges=ranges,
        nodes=nodes,
        voters=topology.voter_nodes,
        moving=topology.moving,
    )


def _cut_off_from(view: StatusResponse, views: list[StatusResponse]) -> tuple[str, ...]:
    """The answering nodes that this one reports as down, if they are the majority of the others."""
    others = {one.node for one in views} - {view.node}
    called = tuple(seen.id for seen in view.members if seen.id in others and seen.state == "down")
    return called if 2 * len(called) > len(others) else ()


def _disputes(
    views: list[StatusResponse], heard: list[StatusResponse], cut_off: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Answering nodes that others report as down, each with the reason to show."""
    disputes = {
        node: f"{node} answers, but is cut off from {', '.join(lost)}" for node, lost in cut_off.items()
    }
    for node in (view.node for view in views if view.node not in cut_off):
        callers = [
            view.node for view in heard if ("down", node) in ((one.state, one.id) for one in view.members)
        ]
        if callers:
            disputes[node] = f"{node} answers, but {', '.join(callers)} cannot reach it"
    return disputes


def _slow_to(views: list[StatusResponse], node: str) -> list[str]:
    """The nodes to which this one is slow."""
    return [view.node for view in views if ("slow", node) in ((one.state, one.id) for one in view.members)]


def _are_most(callers: Sequence[str], opinions: Sequence[str]) -> bool:
    """Whether those who call a node slow are most of those that it does not ask about itself."""
    return 2 * len(callers) > len(opinions) - 1


def _node(
    member: Member,
    topology: Topology,
    answers: Answers,
    heard: list[StatusResponse],
    cut_off: Mapping[str, tuple[str, ...]],
) -> NodeStatus:
    opinions = [seen.state for view in heard for seen in view.members if seen.id == member.id]
    state = max((one for one in opinions if one in STATES), key=STATES.index, default="suspect")
    if state == "slow" and not _are_most(_slow_to(heard, member.id), opinions):
        state = "up"
    owns = topology.owned_by(member.id)
    own = answers.get(member.address)
    awaited = sum(view.hints_by_node.get(member.id, 0) for view in heard)
    if not isinstance(own, StatusResponse):
        silent = "suspect" if state in {"up", "slow"} else state
        return NodeStatus(
            member.id, member.address, silent, member.state, owns, zone=member.zone, awaited_hints=awaited
        )
    if member.id in cut_off or state == "down":
        state = "suspect"
    return NodeStatus(
        member.id, member.address, state, member.state, owns, own.pid, own.keys, own.bytes, own.hints,
        own.uptime_s, member.zone, own.damaged_ranges, own.healing, own.counting, dict(own.engine),
        own.engine_failure, own.unfilled, own.tombstones, own.purge_held_back, own.epoch,
        own.containment, awaited, own.denied, own.removing,
    )  # fmt: skip


def _told_of(node: NodeStatus, views: list[StatusResponse]) -> str:
    says_so = f", say {', '.join(_slow_to(views, node.id))}" if node.state == "slow" else ""
    return f"{node.id} is {node.state}{says_so}"


def _reasons(
    nodes: tuple[NodeStatus, ...],
    ranges: Ranges,
    views: list[StatusResponse],
    disputes: Mapping[str, str],
) -> tuple[str, ...]:
    reasons = [
        disputes.get(node.id) or _told_of(node, views)
        for node in nodes
        if node.state != "up" or node.id in disputes
    ]
    newest = max(view.epoch for view in views)
    reasons += [f"{view.node} is at epoch {view.epoch}" for view in views if view.epoch != newest]
    reasons += [f"{view.node}: {reason}" for view in views for reason in view.reasons]
    if ranges.under_replicated:
        reasons.append(f"{ranges.under_replicated} partitions lack an owner but have their quorum")
    if ranges.no_quorum:
        reasons.append(f"{ranges.no_quorum} partitions have no quorum")
    return tuple(reasons)
