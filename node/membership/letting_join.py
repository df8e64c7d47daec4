"""Lets a node with a join token become a member, and gives it the cluster's secret.

The newcomer is added first, by an epoch like any other (T2), and is given the secret only if that document
names its disk.  So a token is used up by the epoch that adds its node: another disk of that name is refused,
while the same one may ask again, as its answer may have been lost.  The document says that the token is used
up, so that it adds nobody once its node was removed.

Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.access.cluster_secret import HeldSecret, told_to_newcomers
from ringmill.cluster.errors import Conflict, InvalidArgument, PermissionDenied, Unavailable
from ringmill.cluster.ids import DiskId, Epoch
from ringmill.cluster.ports import Entropy
from ringmill.cluster.ring.access.used_token_changes import used_up
from ringmill.cluster.ring.document import USED_TOKENS_VERSION
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.join_tokens import (
    JOIN_NONCE_BYTES,
    LONGEST_TTL_S,
    JoinGrant,
    JoinToken,
    hint_for_member,
)
from ringmill.node.membership.epoch_proposer import EpochProposer
from ringmill.node.membership.starts import Starts
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.membership.upgrades.document_versions import DocumentVersions, check_read_by_newcomer

__all__ = ["Admitted", "LettingJoin", "refuse_former_disk", "share_to_ask"]

_SKEW_S: Final = 300.0  # that the clock of who made a token may be ahead
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The epoch that has the newcomer, and the secrets that its token brings, sealed for it."""

    epoch: Epoch
    sealed: bytes


class LettingJoin:
    def __init__(
        self,
        secret: HeldSecret,
        *,
        topology: TopologyAgent,
        epochs: EpochProposer,
        starts: Starts,
        versions: DocumentVersions,
        hybrid: HybridClock,
        entropy: Entropy,
    ) -> None:
        self._secret = secret
        self._topology = topology
        self._epochs = epochs
        self._starts = starts
        self._versions = versions
        self._hybrid = hybrid
        self._entropy = entropy

    async def admit(
        self, encoded: bytes, proof: bytes, nonce: bytes, newcomer: Member, within_s: float, *, reads: int
    ) -> Admitted:
        """Make the newcomer, which reads documents of versions up to `reads`, a member, unless it is one.

        Raises PermissionDenied for a token that is none here, has expired or is used up; Conflict while
        partitions move, or a member or the newcomer cannot read which tokens are; InvalidArgument, also for a
        member at another address; what a change of the topology raises.
        """
        if not self._secret.text:
            raise InvalidArgument(
                "this cluster has no token, so that there is nothing that a join token gives"
            )
        grant = JoinGrant.decode(encoded)
        token, told_secrets = self._token_of(grant, proof, nonce, newcomer)
        if grant.cluster != self._topology.serving_topology().cluster:
            raise PermissionDenied(f"the join token for {newcomer.id} is of another cluster")

        asked_s = share_to_ask(within_s)
        former = await self._starts.former_disks([newcomer.disk], asked_s)
        if not self._topology.serving_topology().has_seat(newcomer.seat):
            await self._versions.check_read_by_all(USED_TOKENS_VERSION, asked_s)

        def change(topology: Topology, may_be_done: bool) -> Topology | None:
            if not topology.has_seat(newcomer.seat):
                self._check_unused(grant, topology)
            following = with_members(topology, MemberChanges(add=[newcomer]))
            if following is None:
                return None
            refuse_former_disk(self._starts, former, newcomer)
            noted = used_up(following, grant.used, self._hybrid.shared_expiry_ms() / 1000)
            check_read_by_newcomer(newcomer.id, reads, noted)
            return noted

        changed = await self._epochs.change(change, within_s - 2 * asked_s)
        if not changed.topology.has_seat(newcomer.seat):
            raise Unavailable(f"{newcomer.id} was added and is not a member any more", outcome="unknown")
        _check_address(changed.topology.member(newcomer.id), newcomer)
        if changed.was_made:
            _log.info("%s joined at %s, by a join token", newcomer.id, newcomer.address)
        salt = self._entropy.random_bytes("join salt", JOIN_NONCE_BYTES)
        return Admitted(changed.topology.epoch, token.seal(told_secrets, nonce, salt))

    def _token_of(
        self, grant: JoinGrant, proof: bytes, nonce: bytes, newcomer: Member
    ) -> tuple[JoinToken, str]:
        """The token that the newcomer has, and the secrets that it brings.  Raises PermissionDenied."""
        refusals: list[PermissionDenied] = []
        for secret, told_secrets in told_to_newcomers(self._secret.text).items():
            token = grant.token(secret)
            try:
                token.check_request(proof, nonce, newcomer)
            except PermissionDenied as error:
                refusals.append(error)
            else:
                return token, told_secrets
        raise refusals[0]

    def _check_unused(self, grant: JoinGrant, topology: Topology) -> None:
        """Raises PermissionDenied.  One that lost the answer may ask for longer: it is a member."""
        left_s = grant.expires_s - max(self._hybrid.wall_ms() / 1000, self._hybrid.shared_s())
        if left_s <= 0 or left_s > LONGEST_TTL_S + _SKEW_S:
            raise PermissionDenied(
                f"the join token for {grant.node} has expired, or is valid for longer than 7 days",
                hint="`ringmill cluster join-token` makes one; the clocks of the hosts may differ",
            )
        if topology.has_member(grant.node):
            raise PermissionDenied(
                f"the join token for {grant.node} is used up: {grant.node} is a member, on another disk",
                hint=hint_for_member(grant.node),
            )
        if topology.has_used(grant.used.id):
            sometimes("a join token is shown again after its node was removed")
            raise PermissionDenied(
                f"the join token for {grant.node} is used up: {grant.node} joined by it, and was removed",
                hint=f"`ringmill cluster join-token {grant.node}` makes another one",
            )


def _check_address(known: Member, newcomer: Member) -> None:
    """Raises InvalidArgument for one that listens where nobody dials it."""
    if known.address != newcomer.address:
        raise InvalidArgument(
            f"{newcomer.id} joined at {known.address}, where all dial it, and now is at {newcomer.address}",
            hint=f"start it with --listen {known.address}, or --advertise if others dial it there",
        )


def share_to_ask(within_s: float) -> float:
    """How much of the time for a change members may take to say which disks they remember."""
    return min(1.0, within_s / 4)


def refuse_former_disk(starts: Starts, former: Collection[DiskId], member: Member) -> None:
    """Raise Conflict for a disk that was in the cluster before: its data is an old copy (I2).

    `former` is what all members remembered just now.
    """
    if member.disk in former or starts.knows(member.disk):
        raise Conflict(
            f"disk {member.disk} of {member.id} was in the cluster before: it is an old copy",
            hint="`ringmill node reset DIR` makes its folder that of an empty disk",
        )
