"""Claims: what nodes say about each other's reachability, and which of two claims wins.

A claim names a node's start and a number that only the node itself raises.  Claims form a lattice: the
higher rank (start, number) wins, and within a rank down beats suspect beats up.  So a node refutes a
suspicion by raising its number, a new start refutes everything said of the former one, and it does not
matter in which order claims arrive.  A claim also names the disk it speaks of: starts are counted by the
disk, so a node that was given a new one is not bound by what was said of the former.
SWIM (2002), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import DiskId, NodeId, Start

__all__ = ["FURTHEST_AHEAD", "NEVER_SEEN", "Claim", "MemberState", "Message", "Rank"]

_VERSION: Final = 1
_MAX_CLAIMS: Final = 512
_MAX_NAME: Final = 64
_SHORT_BYTES: Final = 256  # a message of one claim has about 100
_KEPT_MESSAGES: Final = 256  # of that length at most, so 100 KiB or so in all
_MAX_NUMBER: Final = 1 << 48  # far above any count of starts or refutations, far below what msgpack holds

FURTHEST_AHEAD: Final = 1 << 12
"""How far a number may be above the known one, if its node has not said it itself (rule T13).

Far above what a node refutes while another one is away, and so small that numbers do not run out: each claim
that is this far ahead has to be refuted before the next one, and at 1 ms each 2^36 of them take two years.
"""


class MemberState(StrEnum):
    """An opinion about reachability; it re-routes and never removes."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"

    @property
    def severity(self) -> int:
        return _SEVERITY[self]


_SEVERITY: Final = {MemberState.UP: 0, MemberState.SUSPECT: 1, MemberState.DOWN: 2}
_STATES: Final = tuple(_SEVERITY)


class Rank(NamedTuple):
    """How recent a claim is: the start of the node it speaks of, and the number the node had then."""

    start: Start
    number: int


NEVER_SEEN: Final = Rank(Start(0, ""), 0)
"""The rank of a member that the topology names and nobody has been heard to speak of."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`node` on `disk` was in `state` at `rank`; `accuser` is who began a suspicion, else ""."""

    node: NodeId
    disk: DiskId
    state: MemberState
    rank: Rank
    accuser: NodeId = NodeId("")  # noqa: RUF009 - a name, not a call with an effect

    def beats(self, other: Claim) -> bool:
        """A total order on (rank, severity), so that all nodes end with the same claim."""
        return (self.rank, self.state.severity) > (other.rank, other.state.severity)


@dataclass(frozen=True, slots=True)
class Message:
    """What a probe and its answer carry: who speaks is the node of the first claim.

    `epoch` is the newest topology the speaker knows.  `is_full` says that the claims are all the speaker
    has, and asks for the same.
    """

    epoch: int
    claims: tuple[Claim, ...]
    is_full: bool = False

    @property
    def speaker(self) -> NodeId:
        return self.claims[0].node

    def encode(self) -> bytes:
        claims = [
            [
                c.node,
                c.disk,
                c.state.severity,
                c.rank.start.number,
                c.rank.start.boot,
                c.rank.number,
                c.accuser,
            ]
            for c in self.claims
        ]
        packed: bytes = msgpack.packb([_VERSION, self.epoch, self.is_full, claims])
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Raises InvalidArgument for anything but a message, ProtocolMismatch for a later version."""
        return _decoded_again(data) if len(data) <= _SHORT_BYTES else _decoded(data)


def _decoded(data: bytes) -> Message:
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidArgument(f"{len(data)} bytes are not a probe: {error}") from error
    if not isinstance(fields, list) or len(fields) != 4:
        raise InvalidArgument("a probe is an array of 4 items")
    version, epoch, is_full, claims = fields
    if version != _VERSION:
        raise ProtocolMismatch(f"probe of version {str(version)[:20]}, this release reads {_VERSION}")
    if type(epoch) is not int or type(is_full) is not bool or not isinstance(claims, list):
        raise InvalidArgument("a probe has an epoch, a flag and claims")
    if not 1 <= len(claims) <= _MAX_CLAIMS:
        raise InvalidArgument(f"a probe with {len(claims)} claims, need 1 to {_MAX_CLAIMS}")
    return Message(epoch, tuple(_claim(entry) for entry in claims), is_full)


# A member without news says the same bytes in each of its messages, to which a frozen value is the answer.
_decoded_again: Final = lru_cache(maxsize=_KEPT_MESSAGES)(_decoded)


def _claim(entry: Any) -> Claim:
    if not isinstance(entry, list) or [type(item) for item in entry] != [str, str, int, int, str, int, str]:
        raise InvalidArgument(
            "a claim has a node, a disk, a state, a start, a boot id, a number and an accuser"
        )
    _check_sizes(entry)
    node, disk, severity, start, boot, number, accuser = entry
    return Claim(
        NodeId(node), DiskId(disk), _STATES[severity], Rank(Start(start, boot), number), NodeId(accuser)
    )


def _check_sizes(entry: Sequence[Any]) -> None:
    if not 0 <= entry[2] < len(_STATES):
        raise InvalidArgument(f"state {entry[2]} does not exist")
    if not (0 <= entry[3] <= _MAX_NUMBER and 0 <= entry[5] <= _MAX_NUMBER):
        raise InvalidArgument(f"a claim with start {entry[3]} and number {entry[5]}, limit {_MAX_NUMBER}")
    longest = max(len(item) for item in entry if isinstance(item, str))
    if longest > _MAX_NAME:
        raise InvalidArgument(f"a claim with a name of {longest} characters, the limit is {_MAX_NAME}")
