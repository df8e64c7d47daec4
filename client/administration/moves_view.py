"""What the members of a cluster are asked to become, and what still moves until they are.

Calls of AsyncMembers (client/administration/members.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.client.administration.asking import ask_members
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Method
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.members_pb2 import (
    ChangeMembersResponse,
    GetMovesRequest,
    GetMovesResponse,
)

__all__ = ["CHANGE", "STEER", "MembersChanged", "MovesView", "moves_of"]

CHANGE: Final = Method("/ringmill.v1.Members/Change", "", ChangeMembersResponse, is_write=True)
STEER: Final = Method("/ringmill.v1.Members/SteerMoves", "", ChangeMembersResponse, is_write=True)
_MOVES: Final = Method("/ringmill.v1.Members/GetMoves", "", GetMovesResponse)


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """The topology of `epoch` has the change as its plan, or never needed one.

    `changed` is whether the call that returned this has done it: False when it was so before.
    """

    epoch: int
    changed: bool


@dataclass(frozen=True, slots=True)
class MovesView:
    """What moves.  `left` counts seats that are still to change hands, `joint` those that do now.

    `leaving` are members that own nothing any more, or will not soon, with the writes that each still has to
    deliver; `held_back` says by partition why a move waits, or why a former owner
    keeps its copy; `read_bytes` is what each node has read to fill
    copies, since it started.  `silent` are members that do not answer, so what they know is missing.
    """

    epoch: int
    left: int
    joint: int
    is_paused: bool
    joining: tuple[str, ...]
    leaving: Mapping[str, int]
    held_back: Mapping[int, str]
    read_bytes: Mapping[str, int]
    silent: tuple[str, ...]

    @property
    def moved_bytes(self) -> int:
        """What all have read."""
        return sum(self.read_bytes.values())

    @property
    def is_over(self) -> bool:
        """Nothing moves, and nobody is on the way in or out."""
        return not (self.left or self.joining or self.leaving)


async def moves_of(directory: Directory, topology: Topology, timeout_s: float) -> MovesView:
    """What moves by this document, and what the members that answer tell of it."""

    async def ask(address: str) -> GetMovesResponse:
        return await directory.link(address).call(_MOVES, GetMovesRequest(), timeout_s)

    asked = topology.addresses()
    answers = await ask_members(directory, [*asked.values()], ask)
    heard = {
        node: each
        for node, address in asked.items()
        if not isinstance(each := answers[address], RingmillError)
    }
    left = 0
    for row in topology.rows:
        wanted = row.wanted or row.following
        left += max(len({*wanted} - {*row.owners}), int(row.is_joint))
    states = {member.id: member.state for member in topology.members}
    return MovesView(
        epoch=topology.epoch,
        left=left,
        joint=sum(row.is_joint for row in topology.rows),
        is_paused=topology.is_paused,
        joining=tuple(node for node, state in states.items() if state == "joining"),
        leaving={
            node: heard[node].hints if node in heard else 0
            for node, state in states.items()
            if state in ("leaving", "gone")
        },
        held_back={at: why for each in heard.values() for at, why in sorted(each.held_back.items())},
        read_bytes={node: each.moved_bytes for node, each in heard.items()},
        silent=tuple(node for node in asked if node not in heard),
    )
