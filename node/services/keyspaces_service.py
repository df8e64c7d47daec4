"""The API of keyspaces: decodes, has the topology changed, encodes.  It decides nothing.

What a change does to the document stands in cluster/ring/keyspaces/keyspace_changes.py, whether it comes too
late in last_changes.py beside it (rule T12: docs/protocol/topology.md), how it comes about in
node/membership/epoch_proposer.py.
"""

from __future__ import annotations

from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.cluster.wire.stubs.keyspaces_pb2 import (
    AlterKeyspaceRequest,
    CreateKeyspaceRequest,
    DropKeyspaceRequest,
    KeyspaceAnswer,
    KeyspaceSettings,
    ListKeyspacesRequest,
    ListKeyspacesResponse,
)
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.node.membership.room import Membership
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.services.table import Call, Service, unary

__all__ = ["KeyspacesService"]


class KeyspacesService:
    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def service(self) -> Service:
        return Service(
            "ringmill.v1.Keyspaces",
            {
                "Create": unary(CreateKeyspaceRequest, self._create),
                "Alter": unary(AlterKeyspaceRequest, self._alter),
                "Drop": unary(DropKeyspaceRequest, self._drop),
                "List": unary(ListKeyspacesRequest, self._list),
            },
        )

    async def _create(self, request: CreateKeyspaceRequest, call: Call) -> KeyspaceAnswer:
        asked = request.settings
        new = NewKeyspace(
            asked.name,
            kind=asked.kind or "objects",
            policy=asked.policy or "siblings",
            r=asked.r,
            w=asked.w,
            ttl_ms=asked.ttl_ms,
            durability=_kept(asked.durability or "sync"),
            quorum=asked.quorum or "strict",
        )
        return await self._change(asked.name, lambda topology, _: created(topology, new), request, call)

    async def _alter(self, request: AlterKeyspaceRequest, call: Call) -> KeyspaceAnswer:
        changes = KeyspaceChanges(
            request.r if request.HasField("r") else None,
            request.w if request.HasField("w") else None,
            request.ttl_ms if request.HasField("ttl_ms") else None,
            _kept(request.durability) if request.HasField("durability") else None,
        )
        name, meant = request.name, _meant(request)
        return await self._change(
            name, lambda topology, _: altered(topology, name, changes, meant), request, call
        )

    async def _drop(self, request: DropKeyspaceRequest, call: Call) -> KeyspaceAnswer:
        def drop(topology: Topology, may_be_done: bool) -> Topology | None:
            may_be_done = may_be_done or request.attempt > 0
            return dropped(topology, request.name, may_be_done=may_be_done, meant=_meant(request))

        return await self._change(request.name, drop, request, call)

    async def _change(
        self,
        name: str,
        change: TopologyChange,
        request: CreateKeyspaceRequest | AlterKeyspaceRequest | DropKeyspaceRequest,
        call: Call,
    ) -> KeyspaceAnswer:
        def in_order(topology: Topology, may_be_made: bool) -> Topology | None:
            following = change(topology, may_be_made)
            if following is not None and request.epoch:  # a client of an earlier release does not say it
                self._membership.last_changes.check(name, Epoch(request.epoch))
            return following

        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        changed = await self._membership.epochs.change(in_order, allowed_s)
        is_drop = isinstance(request, DropKeyspaceRequest)
        entry = next((each for each in changed.topology.keyspaces if each.name == name and not is_drop), None)
        return KeyspaceAnswer(
            epoch=changed.topology.epoch,
            changed=changed.was_made,
            settings=None if entry is None else _settings(entry),
        )

    async def _list(self, request: ListKeyspacesRequest, call: Call) -> ListKeyspacesResponse:
        allowed_s = time_allowed(request.timeout_ms / 1000, call.left_s)
        topology = await self._membership.topology.newest(allowed_s)
        return ListKeyspacesResponse(
            epoch=topology.epoch, keyspaces=[_settings(keyspace) for keyspace in topology.keyspaces]
        )


def _meant(request: AlterKeyspaceRequest | DropKeyspaceRequest) -> KeyspaceId | None:
    """None: a client of an earlier release says a name only."""
    return KeyspaceId(Epoch(request.made_in), request.ordinal) if request.made_in else None


def _kept(durability: str) -> str:
    """A durability as topology documents have it; requests may say either word."""
    return "sync" if durability == "synced" else durability


def _settings(entry: KeyspaceEntry) -> KeyspaceSettings:
    return KeyspaceSettings(
        name=entry.name,
        kind=entry.kind,
        policy=entry.policy,
        r=entry.r,
        w=entry.w,
        ttl_ms=entry.ttl_ms,
        durability=entry.durability,
        quorum=entry.quorum,
        made_in=entry.id.epoch,
        ordinal=entry.id.ordinal,
    )
