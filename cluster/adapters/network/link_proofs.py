"""Both ends of a stream between nodes prove that they know the cluster's secret, without telling it.

Each side gives a nonce in its introduction.  The answering side proves itself there, as it has seen the
dialler's nonce by then; the dialling side in its first frame.  A proof is the HMAC-SHA256 of both
introductions under a key made of the secret.  It also holds the side that made it, so that neither can be
given back its own.  So a process that took over a member's port is not that member, and one that only knows
addresses is no node.

Who relays bytes between two living nodes is not found out by this, as frames are not signed.
Rule F6: docs/protocol/requests.md.  Layout: docs/formats/frame.md, "Proofs".
"""

from __future__ import annotations

import hmac
from typing import Final, Literal, TypeAlias

import msgpack

from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.ports import Entropy

__all__ = ["LinkSecret", "Side"]

Side: TypeAlias = Literal["dialling", "answering"]

_LABEL: Final = b"ringmill link 1"
_HASH: Final = "sha256"
_NONCE_BYTES: Final = 32


class LinkSecret:
    """What all nodes of a cluster know and nobody else.  Without one ("") nothing is proved."""

    def __init__(self, secret: str, entropy: Entropy) -> None:
        self._key = hmac.digest(secret.encode(), _LABEL, _HASH) if secret else b""
        self._entropy = entropy

    def __bool__(self) -> bool:
        return bool(self._key)

    def nonce(self) -> str:
        """What the other side's proof has to be made for; "" when nothing is to be proved."""
        return self._entropy.random_bytes("link nonce", _NONCE_BYTES).hex() if self else ""

    def proof(self, side: Side, dialling: Introduction, answering: Introduction) -> bytes:
        """What `side` shows on a stream that began with these two introductions."""
        told = [
            side,
            [dialling.node, dialling.cluster, dialling.traffic_class, dialling.nonce],
            [answering.node, answering.cluster, answering.clock_us, answering.offer, answering.nonce],
        ]
        return hmac.digest(self._key, _LABEL + msgpack.packb(told), _HASH)

    def is_proof(self, given: bytes, side: Side, dialling: Introduction, answering: Introduction) -> bool:
        return hmac.compare_digest(given, self.proof(side, dialling, answering))
