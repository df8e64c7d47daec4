"""Who may do what, as a topology document says it: the tokens of clients, and whether one is required.

Values only, each with the limits it must keep.  A document holds no secret: only the keys by which a node
checks a proof, and proves itself (cluster/access/scram.py).  Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.access.client_token import TOKEN_ID
from ringmill.cluster.access.roles import ROLES
from ringmill.cluster.access.scram import KEY_BYTES, KeptKeys
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ring.topology_entries import MAX_EPOCH, check_between, check_name

__all__ = ["MAX_TOKENS", "OPEN_TO_ALL", "Access", "TokenEntry"]

MAX_TOKENS: Final = 256


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token.  `made_s` and `expires_s` are seconds since 1970; `expires_s` 0 is never.

    One that was revoked stays in the document, so that its holder is told why it is refused, until its place
    is needed.
    """

    id: str
    name: str
    role: str
    made_s: int
    expires_s: int
    is_revoked: bool
    keys: KeptKeys = field(repr=False)

    def is_over(self, now_s: float) -> bool:
        """Whether it opens nothing any more."""
        return self.is_revoked or 0 < self.expires_s <= now_s

    def check(self) -> None:
        """Raise InvalidArgument unless every field is within its limits."""
        if not TOKEN_ID.fullmatch(self.id):
            raise InvalidArgument(f"token id {self.id[:80]!r} is not 16 hexadecimal digits")
        check_name("token name", self.name)
        if self.role not in ROLES:
            raise InvalidArgument(f"token role is {self.role[:80]!r}, need one of {', '.join(ROLES)}")
        check_between("token made", self.made_s, 0, MAX_EPOCH)
        check_between("token expires", self.expires_s, 0, MAX_EPOCH)
        if any(len(key) != KEY_BYTES for key in self.keys):
            raise InvalidArgument(f"the keys of token {self.id} have not {KEY_BYTES} bytes each")


@dataclass(frozen=True, slots=True)
class Access:
    """`is_required`: clients without any token may not read and write."""

    is_required: bool = False
    tokens: tuple[TokenEntry, ...] = ()
    _by_id: dict[str, TokenEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {token.id: token for token in self.tokens})

    def find(self, id: str) -> TokenEntry | None:
        return self._by_id.get(id)

    def check(self) -> None:
        """Raise InvalidArgument unless every token is within its limits and no id is there twice."""
        check_between("number of tokens", len(self.tokens), 0, MAX_TOKENS)
        for token in self.tokens:
            token.check()
        if len(self._by_id) != len(self.tokens):
            raise InvalidArgument("two tokens have one id")


OPEN_TO_ALL: Final = Access()
"""The access of a cluster whose operator has said nothing: no token but the cluster's, and none required."""
