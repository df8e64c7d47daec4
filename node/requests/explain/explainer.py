"""Does a read and tells how it went: where the key lies, who was asked, who said what, what was repaired.

It goes the way of every read (node/requests/read.py, of a register node/requests/registers/coordinator.py)
and notes what happens there; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.errors import InvalidArgument, RingmillError, WrongEpoch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import parse_level
from ringmill.cluster.ring.hashing import position
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import ABSENT, StoredObject, merge_all
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet, ExplainedOwner
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.replica.stored_key import HintKey
from ringmill.node.requests.explain.explained_register import fill_owner, fill_register
from ringmill.node.requests.owners.read_trace import OwnerTrace, ReadTrace
from ringmill.node.requests.read import Reader
from ringmill.node.requests.registers.coordinator import RegisterCoordinator
from ringmill.node.requests.registers.register_values import RegisterRead
from ringmill.node.requests.registers.round_trace import RegisterTrace
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.requests.request_values import ReadRequest

__all__ = ["Explainer"]


class Explainer:
    def __init__(
        self,
        *,
        routes: Routes,
        topology: TopologyView,
        reader: Reader,
        registers: RegisterCoordinator,
        hints: HintStore,
        liveness: LivenessView,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._topology = topology
        self._reader = reader
        self._registers = registers
        self._hints = hints
        self._liveness = liveness
        self._clock = clock

    async def explain(self, request: ReadRequest) -> ExplainedGet:
        """A read that fails is an answer.  Raises InvalidArgument, WrongEpoch, Unavailable."""
        allowed_s = time_allowed(request.options.timeout_s, request.left_s)
        route = await self._routes.of_any_kind(request.keyspace, request.key, request.epoch, allowed_s)
        if route.keyspace.kind == "registers":
            return await self._explain_register(request, route)
        level = route.row.readers_for(parse_level(request.options.level, route.row.size, route.keyspace.r))
        hinted = await self._hinted(route.hint_key)
        explained = self._begun(route, level)
        explained.fallbacks.extend(self._topology.serving_topology().fallbacks(route.partition))
        trace = ReadTrace(self._clock)
        try:
            result = await self._reader.read(request, trace)
        except (InvalidArgument, WrongEpoch):
            raise
        except RingmillError as error:
            explained.error = str(error)
        else:
            explained.values, explained.weak = len(result.siblings), result.is_weak
        explained.took_us = _us(trace.spent_s)
        held = {
            node: decode_object(asked.encoded) if asked.encoded else ABSENT
            for node, asked in trace.owners.items()
            if asked.encoded is not None
        }
        merged = merge_all(held.values())
        standing_in = [node for node in trace.owners if node not in route.owners]
        for node in (*route.row.readers, *standing_in):
            owner = self._owner(node, trace, held.get(node), merged)
            owner.hinted = node in hinted
            explained.owners.append(owner)
        return explained

    def _begun(self, route: Route, r: int) -> ExplainedGet:
        """An answer that says so far where the key lies, and how many owners a read asks for."""
        return ExplainedGet(
            coordinator=self._routes.node,
            keyspace=route.keyspace.name,
            position=position(route.keyspace.id, route.key),
            partition=route.partition,
            epoch=route.epoch,
            row_epoch=route.row.row_epoch,
            r=r,
        )

    async def _explain_register(self, request: ReadRequest, route: Route) -> ExplainedGet:
        if request.options.level:
            raise InvalidArgument(
                f"r = {request.options.level[:20]}: a register is read from a majority of its owners, always",
                hint="leave r away",
            )
        explained = self._begun(route, route.row.majority)
        where = RegisterRead(
            route.keyspace.name, request.key, request.options.timeout_s, request.epoch, request.left_s
        )
        trace, result = RegisterTrace(self._clock), None
        try:
            result = await self._registers.read(where, trace)
        except (InvalidArgument, WrongEpoch):
            raise
        except RingmillError as error:
            explained.error = str(error)
        explained.took_us = _us(trace.spent_s)
        fill_register(explained, trace, result)
        owners = dict.fromkeys(node for each in (route, *trace.routes) for node in each.owners)
        for node in owners:
            owner = ExplainedOwner(node=node, state=self._liveness.state(node))
            fill_owner(owner, node, trace)
            explained.owners.append(owner)
        return explained

    async def _hinted(self, key: HintKey) -> Sequence[NodeId]:
        """For whom this node holds a hint about a key."""
        try:
            hint = await self._hints.get(key)
        except (RingmillError, OSError):  # damaged: nothing is known of it
            return ()
        return () if hint is None else hint.targets

    def _owner(
        self, node: NodeId, trace: ReadTrace, held: StoredObject | None, merged: StoredObject
    ) -> ExplainedOwner:
        asked = trace.owners.get(node)
        explained = ExplainedOwner(
            node=node,
            state=self._liveness.state(node),
            written_back=trace.written_back.get(node) == "",
            write_back_error=trace.written_back.get(node, ""),
        )
        if asked is not None:
            _fill(explained, asked)
        if held is not None:
            explained.dots.extend(str(each.dot) for each in held.siblings)
            explained.same = held == merged
        return explained


def _fill(explained: ExplainedOwner, asked: OwnerTrace) -> None:
    explained.asked, explained.silent, explained.error = True, asked.was_silent, asked.error
    explained.asked_us = _us(asked.asked_s)
    if asked.answered_s is not None:
        explained.took_us = _us(asked.answered_s - asked.asked_s)
    if asked.encoded is not None:
        explained.answered, explained.bytes = True, len(asked.encoded)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
