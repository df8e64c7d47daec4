"""The ends of a stream prove that they know the cluster's secret, without telling it; a node also does so
with each answer to a plain call, when its caller asks for that.

Each side gives a nonce in its introduction.  The answering side proves itself there, as it has seen the
dialler's nonce by then; the dialling side in its first frame.  A proof is the HMAC-SHA256 of both
introductions under a key made of the secret.  It also holds the side that made it, so that neither can be
given back its own, and no proof of a client stands for one of a node.  So a process that took over a member's
port is not that member, and one that only knows addresses is not a node.

While the secret is rotated there are two (cluster/access/cluster_secret.py): a side that knows both shows a
proof by each, one behind the other, and takes one by either.

A node says its name to nodes, which know whom they meant.  A client may know an address alone, so what a node
proves to it holds the address: a proof that another node has made, for whoever asked it, is none here.  A
node that is known by another address than it listens at does not hear which of them was dialled, so it gives
a proof for each, one behind the other.

Who relays bytes between two living sides is not found out by this, as frames are not signed.
A client that has a token of its own proves that one in the same way, and is proved to by it
(access/token_secrets.py).  With a plain call a client shows who it is, once it knows the node's challenge.

Rules F6, F8 and F9: docs/protocol/requests.md.  Layout: docs/formats/frame.md, "Proofs".
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

import msgpack

from ringmill.cluster.access.cluster_secret import accepted_secrets
from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.handshake import (
    CALLER_PROOF_KEY,
    CHALLENGE_KEY,
    MOST_PROOFS,
    NONCE_KEY,
    PROOF_BYTES,
    TOKEN_ID_KEY,
    Introduction,
    proof_of,
)
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ports import Entropy
from ringmill.cluster.wire.frames import encode_proof

__all__ = [
    "BETWEEN_NODES",
    "CALLER",
    "WITH_CLIENT",
    "AskedProof",
    "DialledProof",
    "LinkSecret",
    "Side",
    "CallMetadata",
    "sealed_bytes",
    "one_spelling",
    "unproved",
]

Side: TypeAlias = Literal["dialling", "answering", "client", "node"]
CallMetadata: TypeAlias = Iterable[tuple[str, str | bytes]] | None
"""What an answer to a plain call begins with, as gRPC gives it."""

BETWEEN_NODES: Final[tuple[Side, Side]] = ("dialling", "answering")
WITH_CLIENT: Final[tuple[Side, Side]] = ("client", "node")  # in the same order

_LABEL: Final = b"ringmill link 1"
_HASH: Final = "sha256"
_NONCE_BYTES: Final = 32
_CALL: Final = "call"  # where the proof of a stream has its side
CALLER: Final = "caller"


class LinkSecret:
    """What all nodes of a cluster know and nobody else but its user.  Without one ("") nothing is proved.

    It may be the text of a token file with two secrets (cluster/access/cluster_secret.py).
    """

    token_id = ""
    """The id of a client's own token (rule F8); the cluster's token has none."""

    def __init__(self, secret: str, entropy: Entropy) -> None:
        self._entropy = entropy
        self.change(secret)

    def __bool__(self) -> bool:
        return bool(self._secret_keys)

    def change(self, secret: str) -> None:
        """Prove and ask for this one from now on."""
        self._secret_keys = tuple(
            hmac.digest(each.encode(), _LABEL, _HASH) for each in accepted_secrets(secret)
        )

    def nonce(self) -> str:
        """What the other side's proof has to be made for; "" when nothing is to be proved."""
        return self._entropy.random_bytes("link nonce", _NONCE_BYTES).hex() if self else ""

    def proof(self, side: Side, dialling: Introduction, answering: Introduction, address: str = "") -> bytes:
        """What `side` shows on a stream that began with these two introductions.

        `address` is the "host:port" at which a client dials the node; "" between nodes.
        """
        return self._sealed(side, *_of_stream(dialling, answering, address))

    def is_proof(
        self, given: bytes, side: Side, dialling: Introduction, answering: Introduction, address: str = ""
    ) -> bool:
        parts = _parts(given)
        return any(self._is_sealed(part, side, *_of_stream(dialling, answering, address)) for part in parts)

    def keys_shown(
        self, given: bytes, side: Side, dialling: Introduction, answering: Introduction, address: str = ""
    ) -> frozenset[bytes]:
        """The keys of the secrets that were proved; none when it `is_proof` of none."""
        parts, message = _parts(given), sealed_bytes(side, *_of_stream(dialling, answering, address))
        made = {key: hmac.digest(key, message, _HASH) for key in self._secret_keys}
        return frozenset(
            key for key, proof in made.items() if any(hmac.compare_digest(part, proof) for part in parts)
        )

    def knows_one_of(self, keys: frozenset[bytes]) -> bool:
        """Whether one of the secrets that were proved once is still accepted."""
        return not keys.isdisjoint(self._secret_keys)

    def call_proof(self, nonce: str, path: str, address: str) -> bytes:
        """What the node at `address` shows with its answer to a plain call of the method at `path`."""
        return self._sealed(_CALL, nonce, path, one_spelling(address))

    def is_call_proof(self, given: bytes, nonce: str, path: str, address: str) -> bool:
        parts = _parts(given)
        return any(self._is_sealed(part, _CALL, nonce, path, one_spelling(address)) for part in parts)

    def caller_proof(self, nonce: str, path: str, address: str, challenge: str) -> bytes:
        """What the caller shows with that call to the node that gave this challenge."""
        return self._sealed(CALLER, nonce, path, one_spelling(address), challenge)

    def is_caller_proof(self, given: bytes, nonce: str, path: str, address: str, challenge: str) -> bool:
        parts = (nonce, path, one_spelling(address), challenge)
        return any(self._is_sealed(part, CALLER, *parts) for part in _parts(given))

    def _sealed(self, kind: str, *parts: Any) -> bytes:
        """By each secret, one behind the other."""
        message = sealed_bytes(kind, *parts)
        return b"".join(hmac.digest(key, message, _HASH) for key in self._secret_keys)

    def _is_sealed(self, given: bytes, kind: str, *parts: Any) -> bool:
        made = _parts(self._sealed(kind, *parts))
        return any(hmac.compare_digest(given, each) for each in made)


class DialledProof:
    """What the side that dials one stream asks of the other, and shows it.

    `address` as in `LinkSecret.proof`.
    """

    def __init__(
        self, secret: LinkSecret, ours: Introduction, sides: tuple[Side, Side], address: str = ""
    ) -> None:
        self.ours = replace(ours, nonce=secret.nonce(), token_id=secret.token_id)
        self._secret = secret
        self._own, self._other = sides
        self._address = address
        self._answered = Introduction()

    def is_given_by(self, introduction: Introduction) -> bool:
        """Whether the answering side has proved itself, or need not.

        The last one that was asked counts: one may offer another carrier.
        """
        self._answered = introduction
        if not self._secret:
            return True
        return self._secret.is_proof(introduction.proof, self._other, self.ours, introduction, self._address)

    async def show(self, stream: FrameStream, timeout_s: float) -> None:
        """Send our own, once the stream is there; nothing without a secret.

        Raises Unavailable, with the stream closed, when it is not taken within `timeout_s`.
        """
        if not self._secret:
            return
        proof = self._secret.proof(self._own, self.ours, self._answered, self._address)
        try:
            async with asyncio.timeout(timeout_s):
                await stream.write(encode_proof(proof))
        except BaseException as error:
            await stream.close()
            if isinstance(error, RingmillError | TimeoutError):
                us = self.ours.node or "a client"
                raise Unavailable(f"{self._answered.node} did not take the proof of {us}: {error}") from None
            raise


class AskedProof:
    """What the caller of one plain call asks of the node, and shows it.

    `connection` is the caller's number of it.  `challenge` is what the node has told on it; "" shows nothing.
    """

    def __init__(
        self, secret: LinkSecret, path: str, address: str, connection: int, challenge: str = ""
    ) -> None:
        self.path = path
        self.connection = connection
        self.is_given = not secret
        self._secret = secret
        self._address = address
        self._nonce = secret.nonce()
        self._challenge = challenge

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with the call."""
        if not self._secret:
            return ()
        metadata = [(NONCE_KEY, self._nonce)]
        if self._secret.token_id:
            metadata.append((TOKEN_ID_KEY, self._secret.token_id))
        if self._challenge:
            proof = self._secret.caller_proof(self._nonce, self.path, self._address, self._challenge)
            metadata += [(CHALLENGE_KEY, self._challenge), (CALLER_PROOF_KEY, proof.hex())]
        return tuple(metadata)

    def is_given_by(self, metadata: CallMetadata) -> bool:
        """Whether an answer that begins with these texts is a node's, or need not be."""
        if not self.is_given:
            proof = proof_of({key: str(value) for key, value in metadata or ()})
            self.is_given = self._secret.is_call_proof(proof, self._nonce, self.path, self._address)
        return self.is_given


def sealed_bytes(kind: str, *parts: Any) -> bytes:
    """The bytes that a proof is made of."""
    packed: bytes = msgpack.packb((kind, *parts))
    return _LABEL + packed


def _of_stream(dialling: Introduction, answering: Introduction, address: str) -> list[Any]:
    return [
        [dialling.node, dialling.cluster, dialling.traffic_class, dialling.nonce],
        [answering.node, answering.cluster, answering.clock_us, answering.offer, answering.nonce],
        *([one_spelling(address)] if address else ()),
    ]


def _parts(given: bytes) -> list[bytes]:
    """The proofs that stand one behind the other: a node with two addresses shows one for each, and each
    side one by each secret that it knows.

    None of more than that: looking at each costs as much as making it, and who sends them has proved nothing.
    """
    if len(given) > MOST_PROOFS * PROOF_BYTES:
        return []
    return [given[at : at + PROOF_BYTES] for at in range(0, len(given), PROOF_BYTES)]


def unproved(address: str, outcome: str) -> Unavailable:
    """The error of a client whose request was answered, or would be, by somebody who gives no proof."""
    return Unavailable(
        f"{address} did not prove that it is a node of this cluster that listens at this address",
        detail={"address": address, "proved": False},
        hint="the client's token (--token-file, token=, RINGMILL_TOKEN) may be of another cluster, or the "
        "cluster's secret was rotated (`ringmill auth rotate-secret`): then give the new one; else the node "
        "was started without --token-file, this is neither its --advertise nor its --listen, or another "
        "process has taken over its port",
        outcome=outcome,
    )


def one_spelling(address: str) -> str:
    """A node listens on loopback, where "localhost" is the one name that has two spellings."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host.lower() == "localhost" else address
