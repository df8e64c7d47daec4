"""What the two ends of a stream say of themselves before anything else, whatever carries the stream.

The dialling side says who it is, which cluster it belongs to and which class of traffic it brings.  The
answering side checks that, then says who it is and what its boot clock reads.  On the wire an introduction is
a few texts by name: gRPC carries them as metadata.  Names that a side does not know are left aside.

Layout: docs/formats/frame.md, "Handshake".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ringmill.cluster.wire.offers import OFFER_KEY
from ringmill.cluster.wire.sending_time import CLOCK_KEY, PeerClock

__all__ = [
    "CALLER_PROOF_KEY",
    "CHALLENGE_KEY",
    "MOST_PROOFS",
    "NONCE_KEY",
    "PROOF_BYTES",
    "PROOF_KEY",
    "SESSION",
    "TOKEN_ID_KEY",
    "Check",
    "Introduction",
    "any_node",
    "clock_reading",
    "proof_in",
    "proof_of",
]

SESSION: Final = "session"  # the class of a client's stream

NONCE_KEY: Final = "ringmill-nonce"
PROOF_KEY: Final = "ringmill-proof"
TOKEN_ID_KEY: Final = "ringmill-token-id"  # noqa: S105 - of a client's own token; else it is the cluster's
CHALLENGE_KEY: Final = "ringmill-challenge"  # of plain calls alone: what a caller's proof has to be made for
CALLER_PROOF_KEY: Final = "ringmill-caller-proof"
_NODE_KEY: Final = "ringmill-node"
_CLUSTER_KEY: Final = "ringmill-cluster"
_FORMER_KEY: Final = "ringmill-former"
_EARLIER_KEY: Final = "ringmill-earlier"
_CLASS_KEY: Final = "ringmill-class"
_RUNS_KEY: Final = "ringmill-runs"
_TRACES_KEY: Final = "ringmill-traces"
_LOAD_KEY: Final = "ringmill-load"
PROOF_BYTES: Final = 32
MOST_PROOFS: Final = 4
"""By one side: a node has up to two addresses, and the cluster two secrets while these are rotated."""
_CLOCK_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Introduction:
    """One end of a stream, in its own words; a client has no `node`."""

    node: str = ""
    cluster: str = ""  # "" before it belongs to one
    traffic_class: str = ""  # of the dialling side alone
    clock_us: int | None = None  # of the answering side alone: its boot clock
    takes_runs: bool = False  # of the dialling side alone: understands refusals of many calls at once
    offer: str = ""  # of the answering side alone: where else it takes frames (cluster/wire/offers.py)
    nonce: str = ""  # what the other side's proof has to be made for (link_proofs.py)
    proof: bytes = b""  # of the answering side alone: that it knows the cluster's secret
    token_id: str = ""  # of a client alone: which token of its own it has (rule F8)
    takes_traces: bool = False  # of the answering side alone: it records the traces of what it is asked
    takes_load: bool = False  # of the dialling side alone: reads how much the other one has under way
    formers: tuple[str, ...] = ()  # the clusters that its own was made of, newest first (rule T9)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Introduction:
        return cls(
            node=metadata.get(_NODE_KEY, ""),
            cluster=metadata.get(_CLUSTER_KEY, ""),
            formers=tuple(filter(None, (metadata.get(_FORMER_KEY), *metadata.get(_EARLIER_KEY, "").split()))),
            traffic_class=metadata.get(_CLASS_KEY, ""),
            clock_us=clock_reading(metadata.get(CLOCK_KEY)),
            takes_runs=metadata.get(_RUNS_KEY) == "1",
            offer=metadata.get(OFFER_KEY, ""),
            nonce=metadata.get(NONCE_KEY, ""),
            proof=proof_of(metadata),
            token_id=metadata.get(TOKEN_ID_KEY, ""),
            takes_traces=metadata.get(_TRACES_KEY) == "1",
            takes_load=metadata.get(_LOAD_KEY) == "1",
        )

    def texts(self) -> dict[str, str]:
        metadata = {_NODE_KEY: self.node, _CLUSTER_KEY: self.cluster} if self.node else {}
        if self.formers:
            metadata[_FORMER_KEY], *earlier = self.formers
            metadata |= {_EARLIER_KEY: " ".join(earlier)} if earlier else {}
        if self.traffic_class:
            metadata[_CLASS_KEY] = self.traffic_class
        if self.takes_runs:
            metadata[_RUNS_KEY] = "1"
        if self.takes_load:
            metadata[_LOAD_KEY] = "1"
        if self.clock_us is not None:
            metadata[CLOCK_KEY] = str(self.clock_us)
        if self.offer:
            metadata[OFFER_KEY] = self.offer
        if self.nonce:
            metadata[NONCE_KEY] = self.nonce
        if self.proof:
            metadata[PROOF_KEY] = self.proof.hex()
        if self.token_id:
            metadata[TOKEN_ID_KEY] = self.token_id
        if self.takes_traces:
            metadata[_TRACES_KEY] = "1"
        return metadata

    def peer_clock(self, received_us: int) -> PeerClock | None:
        """The clock of the side that has just said this of itself; None when it told none."""
        if self.clock_us is None:
            return None
        peer_clock = PeerClock()
        peer_clock.learn(self.clock_us, received_us=received_us)
        return peer_clock


Check: TypeAlias = Callable[[Introduction], None]
"""What the dialling side makes of the other's introduction; raises a RingmillError to refuse it."""


def any_node(_: Introduction) -> None:
    """The Check of a side that does not mind who answers."""


def proof_of(metadata: Mapping[str, str]) -> bytes:
    """The proofs among these texts, up to MOST_PROOFS; b"" when there is none."""
    return proof_in(metadata.get(PROOF_KEY, ""))


def proof_in(text: str) -> bytes:
    """The bytes of a proof that was told as text; b"" when it is none."""
    try:
        given = bytes.fromhex(text) if len(text) <= 2 * PROOF_BYTES * MOST_PROOFS else b""
        return given if len(given) % PROOF_BYTES == 0 else b""
    except ValueError:
        return b""


def clock_reading(text: str | None) -> int | None:
    """A clock's reading in microseconds as it was told; None when nothing of use was said."""
    if text is None or not text.isdecimal() or len(text) > _CLOCK_DIGITS:
        return None
    return int(text)
