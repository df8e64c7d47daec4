"""Does a read and tells how it went: where the key lies, who was asked, who said what, what was repaired.

It goes the way of every read (node/requests/read.py) and notes what happens there; nothing is decided here.
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
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import HintKey
from ringmill.node.requests.owners.read_trace import OwnerTrace, ReadTrace
from ringmill.node.requests.read import Reader
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
        hints: HintStore,
        liveness: LivenessView,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._topology = topology
        self._reader = reader
        self._hints = hints
        self._liveness = liveness
        self._clock = clock

    async def explain(self, request: ReadRequest) -> ExplainedGet:
        """A read that fails is an answer.  Raises InvalidArgument, WrongEpoch, Unavailable."""
        allowed_s = time_allowed(request.options.timeout_s, request.left_s)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch, allowed_s)
        level = route.row.readers_for(parse_level(request.options.level, route.row.size, route.keyspace.r))
        hinted = await self._hinted(route.hint_key)
        explained = ExplainedGet(
            coordinator=self._routes.node,
            keyspace=route.keyspace.name,
            position=position(route.keyspace.id, route.key),
            partition=route.partition,
            epoch=route.epoch,
            row_epoch=route.row.row_epoch,
            r=level,
            fallbacks=self._topology.serving_topology().fallbacks(route.partition),
        )
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
