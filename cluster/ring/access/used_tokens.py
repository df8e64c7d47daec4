"""A join token that is used up, as a topology document remembers it.

Values only, each with the limits it must keep.  Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ring.topology_entries import MAX_EPOCH, check_between

__all__ = ["KEPT_AFTER_S", "MAX_USED_TOKENS", "USED_ID_BYTES", "UsedToken", "check_used"]

MAX_USED_TOKENS: Final = 1024
USED_ID_BYTES: Final = 16
KEPT_AFTER_S: Final = 86_400.0
"""After its end a token is still remembered, as a member whose clock is behind may take it to be valid."""


@dataclass(frozen=True, slots=True)
class UsedToken:
    """`id` is the hash of what the token grants; `expires_s` is in seconds since 1970."""

    id: bytes
    expires_s: int

    def is_over(self, now_s: float) -> bool:
        """Whether nobody takes it any more, and nobody needs to remember it."""
        return self.expires_s + KEPT_AFTER_S <= now_s


def check_used(tokens: tuple[UsedToken, ...]) -> None:
    """Raise InvalidArgument unless every field is within its limits and no id is there twice."""
    check_between("number of used join tokens", len(tokens), 0, MAX_USED_TOKENS)
    for token in tokens:
        if len(token.id) != USED_ID_BYTES:
            raise InvalidArgument(
                f"the id of a used join token has {len(token.id)} bytes, need {USED_ID_BYTES}"
            )
        check_between("end of a used join token", token.expires_s, 0, MAX_EPOCH)
    if len({token.id for token in tokens}) != len(tokens):
        raise InvalidArgument("two used join tokens have one id")
