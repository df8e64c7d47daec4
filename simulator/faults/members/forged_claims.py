"""A member lies: it says of another one that it is down, with a start or a number that this one never had.

It also announces the present start of the other one, with a log that this one never reaches.  It is a member,
so nobody can tell its messages from true ones; but what it says the other one can deny, and what it announces
nobody takes (rule T13: docs/protocol/topology.md).  It does so to all, again and again, for as long as the
fault lasts.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.claims import FURTHEST_AHEAD, Claim, MemberState, Message, Rank
from ringmill.cluster.membership.start_rules import Announcement, FoundLogs, LogMark
from ringmill.cluster.ports import Priority
from ringmill.node.assembly import Node
from ringmill.node.membership.liveness import PING
from ringmill.node.membership.starts import START_TELL
from ringmill.simulator.faults.fault import Fault, FaultKind, at_pair_or_all, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_EVERY_S: Final = 0.3
_TIMEOUT_S: Final = 1.0
_RARE: Final = 0.1
_LATER: Final = (1, 1 << 40)  # than the present start
_MARK: Final = LogMark(1 << 40, 1 << 40)
_NUMBERS: Final = (0, FURTHEST_AHEAD, 1 << 48)


async def _lie(fault: Fault, ground: Ground) -> None:
    liar, victim = fault.nodes[:2]
    told_of = ground.nodes[victim].node
    if told_of is None:
        return
    forged = _forged(ground, told_of.core.node, told_of.identity.disk, told_of.identity.start)
    start = Announcement(
        told_of.core.node, told_of.identity.disk, told_of.identity.start, (), FoundLogs(), _MARK
    )
    ground.trace.fault(fault.kind, victim)
    for _ in range(1 + int(fault.lasts_s / _EVERY_S)):
        if (node := ground.nodes[liar].node) is not None:
            others = [NodeId(name) for name in ground.nodes if name != node.core.node]
            _send_all(node, others, PING, _message(node, forged))
            _send_all(node, others, START_TELL, start.encode())
        await asyncio.sleep(_EVERY_S)


def _forged(ground: Ground, node: NodeId, disk: DiskId, start: Start) -> Claim:
    """Of a start that is to come, or of the present one, with a number that it never reaches."""
    later = ground.draws.choice((0, *_LATER))
    rank = Rank(Start(start.number + later, "forged"), ground.draws.choice(_NUMBERS))
    if not later:
        rank = Rank(start, ground.draws.choice(_NUMBERS[1:]))
    return Claim(node, disk, MemberState.DOWN, rank, NodeId(""))


def _message(liar: Node, forged: Claim) -> bytes:
    own = Claim(liar.core.node, liar.identity.disk, MemberState.UP, Rank(liar.identity.start, 0))
    return Message(liar.membership.topology.epoch, (own, forged)).encode()


def _send_all(liar: Node, others: list[NodeId], method: str, body: bytes) -> None:
    for other in others:
        liar.core.transport.send(
            other, method, body, timeout_s=_TIMEOUT_S, priority=Priority.CONTROL, ended=_forget
        )


def _forget(answer: bytes | RingmillError) -> None:
    """A liar learns nothing."""


KINDS: Final = (FaultKind("forged_claims", _lie, draw=drawn(at_pair_or_all), chance=_RARE),)
