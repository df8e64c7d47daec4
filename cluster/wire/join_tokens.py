"""A join token lets one node, by its name, become a member of one cluster, until a given time.

It is a grant, which says that, and a key, which is the HMAC of the grant under the cluster's secret.  So who
knows the secret can make one without asking anybody, and members need no list of those that were made, but of
those that were used.  The key never goes over a connection: each side proves that it has it, and the member
seals the secret with it.

The newcomer's proof holds what it asks for and a nonce.  Who sends it again is answered with what only the
holder of the key can open.  The member's answer holds the nonce and can only be made by who knows the secret.

Rule T11: docs/protocol/topology.md.  Layout: docs/formats/join_token.md.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import InvalidArgument, PermissionDenied, Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ring.access.used_tokens import USED_ID_BYTES, UsedToken
from ringmill.cluster.ring.topology_entries import Member
from ringmill.cluster.wire.sealed_fields import open_sealed, seal
from ringmill.cluster.wire.token_text import parsed_token, token_text

__all__ = [
    "FORMAT_VERSION",
    "JOIN_NONCE_BYTES",
    "LONGEST_TTL_S",
    "JoinGrant",
    "JoinToken",
    "hint_for_member",
]

JOIN_NONCE_BYTES: Final = 16
LONGEST_TTL_S: Final = 7 * 86_400
FORMAT_VERSION: Final = 1
_MOST_BYTES: Final = 512
_PREFIX: Final = "rj1_"
_LABEL: Final = b"ringmill join 1"
_HASH: Final = "sha256"
_HASH_BYTES: Final = 32
_FIELDS: Final = (str, str, int, bytes)


@dataclass(frozen=True, slots=True)
class JoinGrant:
    """Who may join what.  `expires_s` is in seconds since 1970; `salt` makes two grants of a name differ."""

    cluster: ClusterId
    node: NodeId
    expires_s: int
    salt: bytes

    def encode(self) -> bytes:
        return seal(FORMAT_VERSION, [self.cluster, self.node, self.expires_s, self.salt])

    @property
    def used(self) -> UsedToken:
        """What is remembered of the token once it has added its node.

        It is of what the grant says, as the same can be written in other bytes.
        """
        return UsedToken(blake2b(self.encode(), digest_size=USED_ID_BYTES).digest(), self.expires_s)

    @classmethod
    def decode(cls, data: bytes) -> JoinGrant:
        """Raises InvalidArgument."""
        fields = open_sealed(data, FORMAT_VERSION, most_bytes=_MOST_BYTES, refused=_refused)
        if type(fields) is not list or tuple(map(type, fields)) != _FIELDS:
            raise _refused("does not decode")
        return cls(*fields)

    def token(self, secret: str) -> JoinToken:
        """The token that this grant is under the cluster's secret."""
        key = hmac.digest(secret.encode(), _LABEL, _HASH)
        return JoinToken(self, hmac.digest(key, _LABEL + self.encode(), _HASH))


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A grant and its key.  Whoever has the text may join in the place of the node that it names."""

    grant: JoinGrant
    key: bytes

    def __repr__(self) -> str:
        return f"<join token for {self.grant.node}>"

    @property
    def text(self) -> str:
        return f"{_PREFIX}{token_text(self.grant.encode())}.{token_text(self.key)}"

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises InvalidArgument for what is not a join token; who made it is not known yet."""
        grant, dot, key = text.removeprefix(_PREFIX).partition(".")
        if not text.startswith(_PREFIX) or not dot:
            raise _refused(f"does not begin with {_PREFIX}, or has no dot")
        token = cls(JoinGrant.decode(parsed_token(grant)), parsed_token(key))
        if len(token.key) != _HASH_BYTES:
            raise _refused("is cut off, or has too much at its end")
        return token

    def request_proof(self, nonce: bytes, member: Member) -> bytes:
        """What the newcomer shows with its request."""
        return self._proof("newcomer", nonce, *_told(member))

    def check_request(self, proof: bytes, nonce: bytes, member: Member) -> None:
        """Raises PermissionDenied unless who asked has the key, and asks for what it may."""
        if len(nonce) != JOIN_NONCE_BYTES or not hmac.compare_digest(
            proof, self.request_proof(nonce, member)
        ):
            raise PermissionDenied(
                f"the join token for {self.grant.node} was not made with the secret of this cluster",
                hint="`ringmill cluster join-token` makes one; the secret may have been rotated since",
            )
        if member.id != self.grant.node:
            raise PermissionDenied(f"the join token is for {self.grant.node}, not for {member.id}")

    def seal(self, secret: str, nonce: bytes, salt: bytes) -> bytes:
        """The secret for the one who sent `nonce`.  `salt` is as long as a nonce, and new each time."""
        covered = _covered(secret.encode(), self._stream(nonce, salt))
        return salt + covered + self._proof("member", nonce, salt, covered)

    def open(self, sealed: bytes, nonce: bytes) -> str:
        """The secret.  Raises Unavailable when who sealed it does not know it."""
        salt, rest = sealed[:JOIN_NONCE_BYTES], sealed[JOIN_NONCE_BYTES:]
        covered, proof = rest[:-_HASH_BYTES], rest[-_HASH_BYTES:]
        if not hmac.compare_digest(proof, self._proof("member", nonce, salt, covered)):
            raise Unavailable("who answered did not prove to be a member of the cluster of the join token")
        return _covered(covered, self._stream(nonce, salt)).decode()

    def _proof(self, *parts: Any) -> bytes:
        return hmac.digest(self.key, _LABEL + msgpack.packb(parts), _HASH)

    def _stream(self, nonce: bytes, salt: bytes) -> bytes:
        """A key for one answer, from which its pad is made."""
        return self._proof("pad", nonce, salt)


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the join token {why}", hint="give it as `ringmill cluster join-token` has printed it, unchanged"
    )


def _covered(data: bytes, key: bytes) -> bytes:
    """`data` under a pad of its length: HMACs of a counter.  Twice is nothing."""
    blocks = -(-len(data) // _HASH_BYTES)
    pad = b"".join(hmac.digest(key, number.to_bytes(4, "big"), _HASH) for number in range(blocks))
    return bytes(one ^ other for one, other in zip(data, pad, strict=False))


def _told(member: Member) -> list[str | int]:
    return [member.id, member.disk, member.address, member.zone, member.weight]


def hint_for_member(node: str) -> str:
    """What a member needs that has lost its disk, and its token file with it: no join token helps it."""
    return (
        f"copy the token file of another node to its --token-file and start it; then `ringmill cluster "
        f"replace {node}` gives it another disk"
    )
