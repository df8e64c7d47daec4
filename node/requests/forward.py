"""Forwards a write to an owner: a node that is no owner, or an owner that cannot read its own copy, does so
once.

A silent owner would hold the write for all of its time, so an owner first has to show that it answers (rule
W5), unless it answered within the last second.  One that falls silent after that has the write, perhaps, and
the next owner gets it as a further attempt (rule W4).  The request travels as the bytes it came in
(proto/kv.proto), the receipt comes back as a client would get it, and the call carries the time left.  Rules
W1, W3 and H9 (docs/protocol/).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    DiskFull,
    Overloaded,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.budget import FURTHER_SAVED, MAX_FURTHER, Budget
from ringmill.cluster.ports import Clock, Handler, Incoming, Priority, Transport
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.silence import SilenceWatch
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.wire.parsing import parsed, serialized
from ringmill.cluster.wire.request_options import WriteMessage
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, PutRequest, TouchRequest
from ringmill.node.contracts import LivenessView
from ringmill.node.replica.routes import Route
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.encoding.kv_codec import Write, answer_write, encode_write, receipt_of
from ringmill.node.requests.owners.handed_over import HandedOver
from ringmill.node.requests.owners.proofs import Proofs
from ringmill.node.requests.request_values import WriteRequest

__all__ = ["FORWARDS", "Forwarder"]

FORWARDS: Final = MappingProxyType(
    {"put": "forward.put", "delete": "forward.delete", "touch": "forward.touch"}
)
"""The method for each verb.  Only nodes may call it; clients may call methods that begin with "kv."."""

MAX_ATTEMPT: Final = 2**32 - 1
"""The highest number of an attempt that a message holds."""


class Forwarder:
    def __init__(
        self,
        *,
        transport: Transport,
        liveness: LivenessView,
        proofs: Proofs,
        background: Background,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._liveness = liveness
        self._proofs = proofs
        self._background = background
        self._clock = clock
        self._watch = SilenceWatch(proofs)
        self._budget = Budget(limit=FURTHER_SAVED)

    async def forward(
        self, request: WriteRequest, route: Route, deadline: Deadline, *, instead_of: NodeId | None = None
    ) -> QuorumReceipt:
        """The receipt of the first owner that answers, of those that can be reached and accept writes.

        `instead_of` is this node if it is an owner that cannot read its own copy.  Raises what that owner
        raised; Unavailable, DiskFull or CorruptData when no owner accepts the write; WrongEpoch when the
        request was already forwarded to us, because the sender knows other owners than we do.
        """
        if request.is_forwarded:
            raise WrongEpoch(
                f"a write was forwarded to a node that does not own its key in epoch {route.epoch}",
                detail={"epoch": route.epoch, "partition": route.partition},
                hint="fetch the topology again",
            )
        self._budget.earn()
        nearest = self._liveness.nearest_first([owner for owner in route.row.whole if owner != instead_of])
        waiting, soon = list(nearest), iter(nearest)
        sent, may_send = HandedOver(self._background, self._watch), True
        error: RingmillError = Unavailable(f"none of the owners {', '.join(route.row.whole)} can be reached")
        while True:
            if may_send:
                node = await sent.unless_told(self._next(soon, waiting, deadline))
                if node is not None:
                    waiting.remove(node)
                    attempt = _as_attempt(request, sent.unsure)
                    sent.begin(node, partial(self._hand_over, attempt, node, deadline))
            if not sent.are_under_way:
                raise sent.final(error)  # what an owner said, rather than that another one was silent
            answer = await sent.news()
            if not isinstance(answer, RingmillError):
                return _receipt(answer)
            error, may_send = answer, self._may_go_on(answer, sent)

    def _may_go_on(self, error: RingmillError, sent: HandedOver) -> bool:
        """Whether another owner may get the write after what came of an attempt."""
        if error.outcome == "failed":  # nothing was sent or nothing applied: another owner may do
            is_full = isinstance(error, Overloaded) and sent.unsure > 0
            is_mistimed = isinstance(error, DeadlineExceeded) and error.came_late  # its clock stood still
            return is_full or is_mistimed or isinstance(error, Unavailable | DiskFull | CorruptData)
        if not isinstance(error, Unavailable) or sent.are_expected:
            return False
        sent.further += 1
        if sent.further > MAX_FURTHER or not self._budget.spend():
            return False
        sometimes("a write is forwarded again that may have been done")
        return True

    async def _next(
        self, soon: Iterator[NodeId], waiting: Sequence[NodeId], deadline: Deadline
    ) -> NodeId | None:
        """The next owner that shows that it answers: in their order those that do so soon, then whoever of
        those that wait does so before the time is over."""
        for node in soon:
            if await self._proofs.answers(node, deadline):
                return node
        return await self._proofs.first_to_answer(waiting, deadline)

    async def _hand_over(self, request: WriteRequest, node: NodeId, deadline: Deadline) -> bytes:
        body = request.encoded or encode_write(request)
        try:
            answer = await self._transport.call(
                node, FORWARDS[request.verb], body, timeout_s=deadline.left_s, priority=Priority.WRITE
            )
        except (DeadlineExceeded, Unavailable):
            self._proofs.forget(node)
            raise
        self._proofs.note(node)
        return answer

    def handlers(self, write: Write) -> dict[str, Handler]:
        """Answers forwarded writes with `write`, within the time that the sender has left."""
        kinds: tuple[tuple[str, type[WriteMessage]], ...] = (
            ("put", PutRequest),
            ("delete", DeleteRequest),
            ("touch", TouchRequest),
        )
        return {FORWARDS[verb]: self._handler(kind, write) for verb, kind in kinds}

    def _handler(self, kind: type[WriteMessage], write: Write) -> Handler:
        async def answer(incoming: Incoming) -> bytes:
            message, left_s = parsed(kind, incoming.body), incoming.deadline - self._clock.boottime()
            return serialized(await answer_write(write, message, incoming.body, left_s, is_forwarded=True))

        return answer


def _as_attempt(request: WriteRequest, earlier: int) -> WriteRequest:
    """The request as it is sent after `earlier` attempts that may have been done (rule V4).

    Only whether there were any counts, and a client may have sent the highest number that a message has.
    """
    if not earlier:
        return request
    return request._replace(attempt=min(request.attempt + earlier, MAX_ATTEMPT), encoded=b"")


def _receipt(answer: bytes) -> QuorumReceipt:
    """Decode the receipt; the write was done even if the receipt is unreadable, so that error says
    "unknown"."""
    try:
        return receipt_of(answer)
    except ProtocolMismatch as error:
        raise error.with_outcome("unknown") from error
