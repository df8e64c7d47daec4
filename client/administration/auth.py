"""Tokens of clients: who may do what, decided by the voters of the cluster as its next topology epoch.

A token is made here, in the process of whoever issues it.  The cluster is told the keys that it keeps of
the secret, and never the secret itself.  All calls can be made again, and need the role admin, which the
cluster's token has.  Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from google.protobuf.message import Message

from ringmill.client.arguments import (
    Seconds,
    checked_flag,
    checked_lifetime_s,
    checked_name,
    checked_timeout_s,
)
from ringmill.client.routing.links import Method
from ringmill.client.routing.router import Prepare, Router
from ringmill.cluster.access.client_token import ClientToken
from ringmill.cluster.access.roles import ROLES
from ringmill.cluster.access.scram import SECRET_BYTES, kept_keys
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import Entropy
from ringmill.cluster.ring.topology_entries import check_name
from ringmill.cluster.wire.stubs import auth_pb2 as pb

__all__ = ["AccessInfo", "AsyncAuth", "IssuedToken", "Role", "TokenInfo"]

Role: TypeAlias = Literal["read", "write", "jobs", "admin"]
_PATH: Final = "/ringmill.v1.Auth/"
_ISSUE: Final = Method(f"{_PATH}Issue", "", pb.AccessAnswer, is_write=True)
_REVOKE: Final = Method(f"{_PATH}Revoke", "", pb.AccessAnswer, is_write=True)
_REQUIRE: Final = Method(f"{_PATH}Require", "", pb.AccessAnswer, is_write=True)
_LIST: Final = Method(f"{_PATH}List", "", pb.AccessAnswer)
_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """One token.  `made` and `expires` are seconds since 1970, `expires` 0 is never.

    `state` is "in force", "expired" or "revoked".
    """

    id: str
    name: str
    role: str
    made: int
    expires: int
    state: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token: `text` is to be given to its client, and cannot be had again."""

    info: TokenInfo
    text: str

    def __repr__(self) -> str:
        return f"<token {self.info.name}>"


@dataclass(frozen=True, slots=True)
class AccessInfo:
    """Whether clients need a token to read and write (`is_required`), and all tokens in order of making."""

    is_required: bool
    tokens: tuple[TokenInfo, ...]
    epoch: int


class AsyncAuth:
    """The tokens of a cluster's clients.

    Every call raises PermissionDenied without the role admin.  Every change raises QuorumNotReached, which
    names the voters that did not answer, DeadlineExceeded or Unavailable; with the outcome "unknown" it may
    have been made, or may still be.
    """

    def __init__(self, router: Router, entropy: Entropy) -> None:
        self._router = router
        self._entropy = entropy

    def __repr__(self) -> str:
        return "<tokens>"

    async def issue(
        self, name: str, role: Role, *, expires: Seconds | None = None, timeout: Seconds | None = None
    ) -> IssuedToken:
        """Make a token.  It expires after `expires` seconds, or never.

        Raises InvalidArgument; Conflict when a token of this name is in force.
        """
        check_name("name", checked_name("name", name))
        if role not in ROLES:
            raise InvalidArgument(f"role is {role!r:.40}, need one of {', '.join(ROLES)}")
        lifetime_s = checked_lifetime_s(expires)
        token = ClientToken(
            self._entropy.random_bytes("token id", _ID_BYTES).hex(),
            self._entropy.random_bytes("token secret", SECRET_BYTES),
        )
        keys = kept_keys(token.secret)

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.IssueTokenRequest(
                id=token.id,
                name=name,
                role=role,
                lifetime_s=lifetime_s,
                stored_key=keys.stored,
                server_key=keys.server,
                timeout_ms=timeout_ms,
            )

        answer = await self._ask(_ISSUE, prepare, timeout)
        return IssuedToken(_info(answer.tokens[0]), token.text)

    async def revoke(self, token: str, *, timeout: Seconds | None = None) -> TokenInfo:
        """Take its force from the token of this id, or all of this name, from the next request on.

        A node that has not heard of it yet still lets it in.  Raises NotFound.
        """
        check_name("token", checked_name("token", token))  # an id has the form of a name

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.RevokeTokenRequest(token=token, timeout_ms=timeout_ms)

        return _info((await self._ask(_REVOKE, prepare, timeout)).tokens[0])

    async def require(self, is_required: bool, *, timeout: Seconds | None = None) -> bool:
        """Say whether clients need a token to read, write and administrate; whether this changed anything."""
        checked_flag("is_required", is_required)

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.RequireTokenRequest(required=is_required, timeout_ms=timeout_ms)

        return bool((await self._ask(_REQUIRE, prepare, timeout)).changed)

    async def list(self, *, timeout: Seconds | None = None) -> AccessInfo:
        """All tokens, with every change that was answered before."""

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.ListTokensRequest(timeout_ms=timeout_ms)

        answer = await self._ask(_LIST, prepare, timeout)
        return AccessInfo(answer.required, tuple(_info(each) for each in answer.tokens), answer.epoch)

    async def _ask(
        self, method: Method[pb.AccessAnswer], prepare: Prepare, timeout: Seconds | None
    ) -> pb.AccessAnswer:
        """Send it, and learn the topology in which it is so."""
        timeout_s = self._router.timeout_s if timeout is None else checked_timeout_s(timeout)
        until = asyncio.get_running_loop().time() + timeout_s
        answer = await self._router.ask(method, prepare, timeout_s=timeout_s)
        await self._router.directory.catch_up(answer.epoch, until - asyncio.get_running_loop().time())
        return answer


def _info(token: pb.TokenInfo) -> TokenInfo:
    state = "revoked" if token.revoked else "expired" if token.expired else "in force"
    return TokenInfo(token.id, token.name, token.role, token.made_s, token.expires_s, state)
