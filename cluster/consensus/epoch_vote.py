"""What a voter remembers of one epoch that is being decided: its epoch, and an acceptor's state.

The value that is accepted is an encoded topology document.  A voter remembers one epoch at a time, the one
after the document that it holds: what was agreed to for an earlier one is decided, and is not needed any
more.  Rules T2 and T3: docs/protocol/topology.md.  Layout: docs/formats/topology.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.consensus.ballots import NO_BALLOT
from ringmill.cluster.consensus.register_codec import decode_acceptor, encode_acceptor
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import Epoch

__all__ = ["STORED_AS", "EpochVote", "decode_vote", "encode_vote"]

FORMAT_VERSION: Final = 1

STORED_AS: Final = "epoch-vote"
"""Name in the control state of a node."""


class EpochVote(NamedTuple):
    epoch: Epoch
    state: AcceptorState

    def of(self, epoch: Epoch) -> AcceptorState:
        """What was agreed to for an epoch: nothing, unless it is the one that is remembered."""
        return self.state if self.epoch == epoch else UNTOUCHED

    def has_accepted(self, epoch: Epoch) -> bool:
        """Whether a document of this epoch may have been decided, as far as this voter knows."""
        return self.of(epoch).accepted != NO_BALLOT


def encode_vote(vote: EpochVote) -> bytes:
    packed: bytes = msgpack.packb([FORMAT_VERSION, vote.epoch, encode_acceptor(vote.state)])
    return packed


def decode_vote(data: bytes | None) -> EpochVote:
    """A voter that has no vote stored has agreed to nothing.  Raises ProtocolMismatch, CorruptData."""
    if not data:
        return EpochVote(Epoch(0), UNTOUCHED)
    try:
        fields: Any = msgpack.unpackb(data)
        version, epoch, state = fields
        if version != FORMAT_VERSION:
            raise ProtocolMismatch(f"a vote has format {version!r:.20}, this release reads {FORMAT_VERSION}")
        if type(epoch) is not int or type(state) is not bytes:
            raise TypeError("an epoch or a state of another type")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"a vote of {len(data)} bytes does not decode: {error}") from error
    return EpochVote(Epoch(epoch), decode_acceptor(state))
