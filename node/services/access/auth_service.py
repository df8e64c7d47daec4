"""The Auth service: tokens of clients, and whether one is required.

It decodes, has the topology changed, and encodes.  What a change does to the document stands in
cluster/ring/access/access_changes.py.  Contract: proto/auth.proto.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.cluster.access.scram import KeptKeys
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_TTL_MS
from ringmill.cluster.ring.access.access_changes import issued, required, revoked, token_named
from ringmill.cluster.ring.access.access_entries import TokenEntry
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.wire.stubs.auth_pb2 import (
    AccessAnswer,
    IssueTokenRequest,
    ListTokensRequest,
    RequireTokenRequest,
    RevokeTokenRequest,
    TokenInfo,
)
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.node.membership.room import Membership
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.services.table import Call, Service, unary

__all__ = ["AuthService"]

_LONGEST_S = MAX_TTL_MS // 1000


class AuthService:
    def __init__(self, membership: Membership, hybrid: HybridClock) -> None:
        """Tokens live by the time that the members share, as far as this node knows it."""
        self._membership = membership
        self._hybrid = hybrid

    def service(self) -> Service:
        return Service(
            "ringmill.v1.Auth",
            {
                "Issue": unary(IssueTokenRequest, self._issue),
                "Revoke": unary(RevokeTokenRequest, self._revoke),
                "Require": unary(RequireTokenRequest, self._require),
                "List": unary(ListTokensRequest, self._list),
            },
        )

    async def _issue(self, request: IssueTokenRequest, call: Call) -> AccessAnswer:
        if request.lifetime_s > _LONGEST_S:
            raise InvalidArgument(
                f"lifetime_s is {request.lifetime_s}, the limit is {_LONGEST_S} (100 years)"
            )
        now_s, surely_s = self._hybrid.shared_s(), self._hybrid.shared_expiry_ms() / 1000
        made_s = int(now_s)
        token = TokenEntry(
            request.id,
            request.name,
            request.role,
            made_s=made_s,
            expires_s=made_s + request.lifetime_s if request.lifetime_s else 0,
            is_revoked=False,
            keys=KeptKeys(request.stored_key, request.server_key),
        )
        token.check()
        answer, topology = await self._change(
            lambda present, _: issued(present, token, now_s, surely_s), request.timeout_ms, call
        )
        return self._with(answer, [each for each in topology.access.tokens if each.id == token.id])

    async def _revoke(self, request: RevokeTokenRequest, call: Call) -> AccessAnswer:
        wanted = request.token
        answer, topology = await self._change(
            lambda present, _: revoked(present, wanted), request.timeout_ms, call
        )
        return self._with(answer, [token_named(topology.access, wanted)])

    async def _require(self, request: RequireTokenRequest, call: Call) -> AccessAnswer:
        is_required = request.required
        answer, _ = await self._change(
            lambda present, _: required(present, is_required=is_required), request.timeout_ms, call
        )
        return answer

    async def _list(self, request: ListTokensRequest, call: Call) -> AccessAnswer:
        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        topology = await self._membership.topology.newest(allowed_s)
        answer = AccessAnswer(epoch=topology.epoch, required=topology.access.is_required)
        return self._with(answer, topology.access.tokens)

    async def _change(
        self, change: TopologyChange, timeout_ms: int, call: Call
    ) -> tuple[AccessAnswer, Topology]:
        changed = await self._membership.epochs.change(change, time_allowed(timeout_ms / 1000, call.left_s))
        access = changed.topology.access
        epoch = changed.topology.epoch
        answer = AccessAnswer(epoch=epoch, changed=changed.was_made, required=access.is_required)
        return answer, changed.topology

    def _with(self, answer: AccessAnswer, tokens: Iterable[TokenEntry]) -> AccessAnswer:
        now_s = self._hybrid.shared_s()
        answer.tokens.extend(
            TokenInfo(
                id=each.id,
                name=each.name,
                role=each.role,
                made_s=each.made_s,
                expires_s=each.expires_s,
                revoked=each.is_revoked,
                expired=0 < each.expires_s <= now_s,
            )
            for each in tokens
        )
        return answer
