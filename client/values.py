"""What a reader and a writer are handed: items, receipts, locations, contexts.

Plain values, free of protobuf and of any connection.  They are made from messages in client/messages.py.
Words: docs/glossary.md ("context", "receipt", "sibling").
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cluster.errors import InvalidArgument

__all__ = ["EMPTY", "CausalContext", "Item", "Location", "OwnerCopy", "Receipt", "ReplicaAck"]


@dataclass(frozen=True, slots=True)
class CausalContext:
    """What a reader saw of one key: hand it back with the write that resolves it.

    `EMPTY` says "I saw nothing": the write becomes a sibling of whatever is there.  No context at all means
    "I overwrite what the coordinator knows".
    """

    token: bytes

    @property
    def text(self) -> str:
        """The token as people and JSON carry it: base64url without padding."""
        return base64.urlsafe_b64encode(self.token).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, text: str) -> CausalContext:
        """The context that `text` named.  Raises InvalidArgument when it is no base64url or empty."""
        try:
            token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument(f"context {text!r} is not base64url: {error}") from error
        if not token:
            raise InvalidArgument(
                "the context is empty", hint="a blind sibling is written with --no-context (context=EMPTY)"
            )
        return cls(token)

    def __repr__(self) -> str:
        return f"CausalContext({self.text!r})" if self.token else "EMPTY"


EMPTY = CausalContext(b"")
"""The context of one who read nothing: `put(key, value, context=EMPTY)` writes a blind sibling."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a key holds: one value, or several siblings that nobody has resolved yet.

    `siblings` and `dots` run in parallel, by dot; `value` is the first sibling.
    """

    value: bytes
    siblings: tuple[bytes, ...]
    context: CausalContext
    dots: tuple[str, ...]
    answered: tuple[str, ...] = ()
    repaired: int = 0
    weak: bool = False
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaAck:
    """One node's word for a write: role owner, fallback or hinted; durability memory, buffered or synced."""

    node: str
    role: str
    durability: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a write.  `context` is None while other siblings remain: read, then resolve."""

    dot: str
    context: CausalContext | None
    epoch: int
    w: int
    replicas: tuple[ReplicaAck, ...]
    weak: bool = False
    hybrid_time: int = 0


@dataclass(frozen=True, slots=True)
class OwnerCopy:
    """What one owner holds of a key now; `same` says that it equals the merge of all answers."""

    node: str
    state: str
    dots: tuple[str, ...]
    same: bool
    answered: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a key lives: its place on the hash circle, its owners in ring order, the nodes after them."""

    position: int
    partition: int
    epoch: int
    owners: tuple[OwnerCopy, ...]
    fallbacks: tuple[str, ...]
