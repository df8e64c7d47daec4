"""A transport that also reaches its own node.

A node that coordinates a request is also an owner of the key, and one that coordinates a job is also a
worker.  A call to itself is like any other call except for the wire: the same encoded bytes, errors and
deadline.  So a room treats all nodes alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from typing import Any, cast

from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock, Handler, Incoming, Priority, Transport

__all__ = ["CallsToSelf"]


class CallsToSelf:
    """Wraps the node's transport; what is served here is served to peers and to the node itself."""

    def __init__(self, node: NodeId, transport: Transport, clock: Clock) -> None:
        self._node = node
        self._transport = transport
        self._clock = clock
        self._handlers: dict[str, Handler] = {}

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self._transport.set_peers(addresses)

    def serve(self, method: str, handler: Handler) -> None:
        self._handlers[method] = handler
        self._transport.serve(method, handler)

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        """As Transport.call (ringmill.cluster.ports)."""
        if to != self._node:
            return await self._transport.call(to, method, body, timeout_s=timeout_s, priority=priority)
        handler = self._handlers.get(method)
        if handler is None:
            raise ProtocolMismatch(f"{self._node} does not serve {method}")
        deadline = self._clock.monotonic() + timeout_s
        answer = handler(Incoming(self._node, method, body, deadline, priority))
        return answer if isinstance(answer, bytes) else await _answered(answer, method, timeout_s)


async def _answered(answer: Awaitable[bytes], method: str, timeout_s: float) -> bytes:
    """Most answers never wait, so a timer is set only for one that does."""
    steps = answer.__await__()
    try:
        wait = steps.send(None)
    except StopIteration as done:
        return cast("bytes", done.value)
    try:
        async with asyncio.timeout(timeout_s):
            return await _Begun(steps, wait)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{method} took longer than {timeout_s:g} s", outcome="unknown") from error


class _Begun:
    """What is left of an awaitable that has come to its first `wait`."""

    __slots__ = ("_steps", "_wait")

    def __init__(self, steps: Generator[Any, Any, bytes], wait: object) -> None:
        self._steps = steps
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, bytes]:
        wait = self._wait
        try:
            while True:
                try:
                    sent = yield wait
                except BaseException as error:  # noqa: BLE001 - a cancellation, most of all
                    wait = self._steps.throw(error)
                else:
                    wait = self._steps.send(sent)
        except StopIteration as done:
            return cast("bytes", done.value)
