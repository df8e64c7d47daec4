"""Calls of one frame, as a node's transport hands them over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival
from ringmill.cluster.traces.spans import Span
from ringmill.cluster.wire.parsing import serialized
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, GetRequest, PutRequest
from ringmill.node.services.kv_service import DELETE, GET, PUT
from tests.node.small_world import Node

__all__ = ["Call", "asked_by", "delete", "get", "hand_over", "put"]


CLIENT = NodeId("")


@dataclass(eq=False)
class Call:
    """One call, and how it ended: ringmill.cluster.ports.Arrival."""

    method: str
    body: bytes
    deadline: float
    sender: NodeId = CLIENT
    on_end: Callable[[Arrival], None] | None = None
    span: Span | None = None
    ended: list[bytes | Exception] = field(default_factory=list)
    _later: asyncio.Task[None] | None = None

    def answer(self, body: bytes) -> None:
        self.ended.append(body)

    def fail(self, error: Exception) -> None:
        self.ended.append(error)

    def answer_later(self, result: Awaitable[bytes]) -> None:
        self._later = asyncio.ensure_future(self._await(result))

    async def _await(self, result: Awaitable[bytes]) -> None:
        try:
            self.answer(await result)
        except Exception as error:  # noqa: BLE001 - what it is, is the test's to see
            self.fail(error)


def put(node: Node, key: bytes, value: bytes, *, timeout_s: float = 5.0, **options: Any) -> Call:
    body = serialized(PutRequest(key=key, value=value, **options))
    return Call(PUT, body, node.clock.boottime() + timeout_s)


def delete(node: Node, key: bytes) -> Call:
    return Call(DELETE, serialized(DeleteRequest(key=key)), node.clock.boottime() + 5.0)


def get(node: Node, key: bytes, *, timeout_s: float = 5.0, r: str = "") -> Call:
    return Call(GET, serialized(GetRequest(key=key, r=r)), node.clock.boottime() + timeout_s)


def hand_over(node: Node, calls: Sequence[Call]) -> None:
    """As one frame of calls with one handler."""
    node.service.batch_handlers()[calls[0].method](calls)


def asked_by(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The owners and methods that a node asks from now on, without a task."""
    transport = node.core.transport
    send, seen = transport.send, list[tuple[str, str]]()

    def noted(to: NodeId, method: str, body: bytes, **given: Any) -> None:
        seen.append((str(to), method))
        send(to, method, body, **given)

    monkeypatch.setattr(transport, "send", noted)
    return seen
