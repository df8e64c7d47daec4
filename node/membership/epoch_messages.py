"""The messages by which an epoch is decided: a proposer asks the voters of the epoch before.

They carry the epoch that is decided and are exempt from epoch checks.  Rule T2: docs/protocol/topology.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot, ballot_of
from ringmill.cluster.ids import ClusterId, Epoch
from ringmill.node.replica.packing import pack, unpack

__all__ = ["EPOCH_ACCEPT", "EPOCH_ACCEPTED", "EPOCH_PREPARE", "EpochAnswer", "EpochRequest"]

EPOCH_PREPARE: Final = "epoch.prepare"
EPOCH_ACCEPT: Final = "epoch.accept"
EPOCH_ACCEPTED: Final = "epoch.accepted"
"""Nothing; answers an EpochAnswer with what the node has accepted last, of whatever epoch (rule T9)."""


class EpochRequest(NamedTuple):
    """`epoch` is the one to be decided; a prepare has no document."""

    cluster: ClusterId
    epoch: Epoch
    ballot: Ballot
    document: bytes = b""

    def encode(self) -> bytes:
        return pack([self.cluster, self.epoch, list(self.ballot), self.document])

    @classmethod
    def decode(cls, body: bytes) -> EpochRequest:
        cluster, epoch, ballot, document = unpack(body, (str, int, list, bytes))
        return cls(ClusterId(cluster), Epoch(epoch), ballot_of(ballot), document)


class EpochAnswer(NamedTuple):
    """What the voter has accepted for the epoch, as it stands on its disk.

    `newest` is a document of that epoch or a later one: then there is nothing to decide any more.
    `refused_counter` is 0 when the voter did what it was asked; else what it has promised counts this far.
    """

    newest: bytes = b""
    refused_counter: int = 0
    accepted: Ballot = NO_BALLOT
    document: bytes = b""

    def encode(self) -> bytes:
        return pack([self.newest, self.refused_counter, list(self.accepted), self.document])

    @classmethod
    def decode(cls, body: bytes) -> EpochAnswer:
        newest, refused_counter, accepted, document = unpack(body, (bytes, int, list, bytes))
        return cls(newest, refused_counter, ballot_of(accepted), document)
