"""A transport that also reaches its own node.

A node that coordinates a request is also an owner of the key, and one that coordinates a job is also a
worker.  A call to itself is like any other call except for the wire: the same encoded bytes, errors and
deadline.  So a room treats all nodes alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import (
    Arrival,
    BatchHandler,
    BatchTransport,
    Clock,
    Ended,
    Handler,
    Incoming,
    Priority,
)

__all__ = ["CallsToSelf"]


class CallsToSelf:
    """Wraps the node's transport; what is served here is served to peers and to the node itself."""

    def __init__(self, node: NodeId, transport: BatchTransport, clock: Clock) -> None:
        self._node = node
        self._transport = transport
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._batch_handlers: dict[str, BatchHandler] = {}

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self._transport.set_peers(addresses)

    def on_break(self, listener: Callable[[NodeId], None]) -> None:
        self._transport.on_break(listener)

    def serve(self, method: str, handler: Handler) -> None:
        self._handlers[method] = handler
        self._transport.serve(method, handler)

    def serve_batch(self, method: str, handler: BatchHandler) -> None:
        self._batch_handlers[method] = handler
        self._transport.serve_batch(method, handler)

    def busy(self) -> Mapping[str, int]:
        """As BatchTransport.busy: of other nodes."""
        return self._transport.busy()

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        """As Transport.send, to other nodes only: whoever may not wait reads its own copy directly."""
        assert to != self._node, f"{method} was sent to this node itself"
        self._transport.send(to, method, body, timeout_s=timeout_s, priority=priority, ended=ended)

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        """As Transport.call (ringmill.cluster.ports)."""
        if to != self._node:
            return await self._transport.call(to, method, body, timeout_s=timeout_s, priority=priority)
        deadline = self._clock.boottime() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                if (batch_handler := self._batch_handlers.get(method)) is not None:
                    arrival = _OwnArrival(self._node, method, body, deadline)
                    batch_handler([arrival])
                    return await arrival.ended
                if (handler := self._handlers.get(method)) is None:
                    raise ProtocolMismatch(f"{self._node} does not serve {method}")
                answer = handler(Incoming(self._node, method, body, deadline, priority))
                return answer if isinstance(answer, bytes) else await answer
        except TimeoutError as error:
            raise DeadlineExceeded(f"{method} took longer than {timeout_s:g} s", outcome="unknown") from error


@dataclass(slots=True)
class _OwnArrival:
    """A batch of one, from this node (ringmill.cluster.ports.Arrival)."""

    span: ClassVar[None] = None  # the caller works for it

    sender: NodeId
    method: str
    body: bytes
    deadline: float
    on_end: Callable[[Arrival], None] | None = None
    ended: Awaitable[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def answer(self, body: bytes) -> None:
        if isinstance(self.ended, asyncio.Future) and not self.ended.done():
            self.ended.set_result(body)

    def fail(self, error: Exception) -> None:
        if isinstance(self.ended, asyncio.Future) and not self.ended.done():
            self.ended.set_exception(error)

    def answer_later(self, result: Awaitable[bytes]) -> None:
        self.ended = result  # the caller is a task already
