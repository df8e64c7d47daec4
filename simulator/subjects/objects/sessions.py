"""Clients of a run: production client code, its answers kept as a history.

Each session has a client of its own and asks one thing after the other.  What is recorded is the answer as it
crossed the wire, since a read that finds nothing still hands out a context.  Links are simulated here; a run
of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from google.protobuf.message import Message

from ringmill.client.arguments import durability_named, level_named
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Abandon, Link, Method
from ringmill.client.routing.router import Prepare, Router, Target
from ringmill.client.session_memory import SessionMemory
from ringmill.client.sessions.sessions import AsyncSessionKeyspace
from ringmill.client.values import EMPTY, CausalContext, ttl_left_s
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import BatchTransport, Ended, Entropy, Priority
from ringmill.cluster.versions.context_token import told_by
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.simulator.history import Operation, Outcome, ReceiptLine, SeenSibling, Vector
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.world.services import frame_name
from ringmill.simulator.world.world import DEFAULT_KEYSPACE

__all__ = ["AnyNode", "Dial", "RecordingRouter", "Session", "SimulatedLink", "Within", "insist", "wandering"]

Answer = TypeVar("Answer", bound=Message)
Dial = Callable[[str], Link]
"""Makes the link to an address."""
_AGAIN_S = 0.25


class SimulatedLink:
    """The client's door to one node."""

    def __init__(self, transport: BatchTransport, node: NodeId) -> None:
        self._transport = transport
        self._node = node

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        service, _, verb = method.path.strip("/").partition("/")
        name = method.frame_name or frame_name(service, verb)
        body = await self._transport.call(
            self._node,
            name,
            request.SerializeToString(),
            timeout_s=timeout_s,
            priority=Priority.WRITE if method.is_write else Priority.READ,
        )
        return method.answer.FromString(body)

    def send(self, method: Method[Message], request: Message, timeout_s: float, ended: Ended) -> Abandon:
        self._transport.send(
            self._node,
            method.frame_name,
            request.SerializeToString(),
            timeout_s=timeout_s,
            priority=Priority.WRITE if method.is_write else Priority.READ,
            ended=ended,
        )
        return _nothing

    async def close(self) -> None:
        """Nothing is held."""


def _nothing() -> None:
    """What was sent runs until its deadline."""


class RecordingRouter(Router):
    """Keeps the last answer to a request as it crossed the wire; probes leave it alone."""

    last: Message

    async def ask(
        self,
        method: Method[Answer],
        prepare: Prepare,
        *,
        target: Target | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        answer = await super().ask(method, prepare, target=target, timeout_s=timeout_s)
        self.last = answer
        return answer


class AnyNode(Directory):
    """For a client behind a balancer: whom it asks has nothing to do with who owns the key."""

    def addresses_for(self, keyspace: str, key: bytes, turn: int = 0) -> list[str]:
        return self.addresses()


def wandering(draws: Random) -> type[Directory]:
    """A directory for a client that asks any node, owner or not, and another one each time."""

    class Wandering(Directory):
        def addresses_for(self, keyspace: str, key: bytes, turn: int = 0) -> list[str]:
            known = self.addresses()
            return draws.sample(known, len(known))

    return Wandering


class Within(Directory):
    """For a client that reaches only the addresses it was given, whatever the topology names."""

    def addresses(self, order: Callable[[str], Any] | None = None) -> list[str]:
        return [address for address in super().addresses(order) if address in self._endpoints]

    def addresses_for(self, keyspace: str, key: bytes, turn: int = 0) -> list[str]:
        found = super().addresses_for(keyspace, key, turn)
        return [address for address in found if address in self._endpoints]


class Session:
    """One client that executes planned operations.  `async with` owns its directory."""

    def __init__(
        self,
        name: str,
        *,
        addresses: Sequence[str],
        dial: Dial,
        entropy: Entropy,
        timeout_s: float,
        directory: type[Directory] = Directory,
        memory: SessionMemory | None = None,
    ) -> None:
        self.name = name
        self.memory = memory
        self._timeout_s = timeout_s
        self._directory = directory(addresses, dial)
        self._router = RecordingRouter(self._directory, entropy, timeout_s)
        self._keyspace = AsyncKeyspace("default", self._router, OperationNames(entropy, self._directory))
        self._contexts: dict[bytes, CausalContext] = {}

    async def __aenter__(self) -> Session:
        await self._directory.__aenter__()
        await self._learn()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._directory.__aexit__()

    async def work_off(self, plans: Sequence[PlannedOperation], operations: list[Operation]) -> None:
        """Execute all of `plans` in order; each operation is in the list from its start on."""
        for plan in plans:
            await asyncio.sleep(plan.pause_s)
            await self.ask(plan, operations)

    async def ask(self, plan: PlannedOperation, operations: list[Operation]) -> Operation:
        """One operation, recorded whatever comes of it."""
        given = self._given(plan)
        begun = Operation(
            index=plan.index,
            session=self.name,
            kind=plan.kind,
            key=plan.key,
            invoked=asyncio.get_running_loop().time(),
            returned=None,
            outcome="unknown",
            value=plan.value if plan.kind == "put" else b"",
            given=_vector(given.token, plan.key) if given else None,
            is_blind=given == EMPTY,
            is_synced=plan.durability == "",
            is_buffered=plan.durability == "buffered",
            level=plan.level if plan.kind != "get" else None,
            timeout_s=self._timeout_s,
            ttl_s=plan.ttl_s,
            has_token=self.memory is not None,
        )
        place = len(operations)
        operations.append(begun)
        try:
            await self._send(plan, given)
        except RingmillError as error:
            operations[place] = self._failed(begun, error)
        except asyncio.CancelledError:  # its driver has given it up
            if _now() - begun.invoked <= self._timeout_s:
                operations[place] = replace(begun, timeout_s=None)
            raise
        else:
            operations[place] = self._answered(begun, self._router.last, plan.level)
        return operations[place]

    async def _learn(self) -> None:
        """A client that finds nobody goes on without a topology: any node forwards."""
        try:
            await self._directory.learn(self._timeout_s)
        except RingmillError:
            return

    async def _send(self, plan: PlannedOperation, given: CausalContext | None) -> None:
        level = level_named(plan.level) if plan.level else None
        durability = durability_named(plan.durability) if plan.durability else None
        space: AsyncKeyspace | AsyncSessionKeyspace = self._keyspace
        if self.memory is not None:
            space = AsyncSessionKeyspace(self._keyspace, self.memory)
        if plan.kind == "get":
            await space.get(plan.key, default=None, r=level)
        elif plan.kind == "put":
            await space.put(
                plan.key, plan.value, context=given, w=level, durability=durability, ttl=plan.ttl_s
            )
        elif plan.kind == "touch":
            await space.touch(plan.key, ttl=plan.ttl_s, w=level, durability=durability)
        else:
            await space.delete(plan.key, context=given, w=level, durability=durability)

    def _given(self, plan: PlannedOperation) -> CausalContext | None:
        if plan.kind in ("get", "touch") or plan.context == "none":
            return None
        return EMPTY if plan.context == "blind" else self._contexts.get(plan.key)

    def _failed(self, begun: Operation, error: RingmillError) -> Operation:
        outcome: Outcome = "failed" if error.outcome == "failed" or begun.kind == "get" else "unknown"
        return replace(begun, returned=_now(), outcome=outcome, error=f"{error.code}: {error.message}")

    def _answered(self, begun: Operation, answer: Message, level: str) -> Operation:
        assert isinstance(answer, kv_pb2.GetResponse | kv_pb2.WriteReceipt)
        if answer.context:
            self._contexts[begun.key] = CausalContext(answer.context)
        seen = _vector(answer.context, begun.key) if answer.context else {}
        done = replace(begun, returned=_now(), outcome="ok", seen=seen, is_weak=answer.weak)
        if isinstance(answer, kv_pb2.GetResponse):
            shown = tuple(
                SeenSibling(each.value, each.dot, ttl_left_s(each.expires_at_ms, answer.judged_at_ms))
                for each in answer.siblings
            )
            return replace(done, siblings=shown, is_at_r=level in ("", "all"))
        return replace(
            done,
            dot=answer.dot,
            w=answer.w,
            replicas=tuple(ReceiptLine(ack.node, ack.role, ack.durability) for ack in answer.replicas),
        )


async def insist(
    session: Session, keys: Sequence[bytes], level: Callable[[bytes], str], operations: list[Operation]
) -> None:
    """Read every key at its level, each again until it is answered; only the answer is kept."""
    for key in keys:
        answered: list[Operation] = []
        plan = PlannedOperation(len(operations), session.name, "get", key, b"", "none", level(key), "", 0.0)
        while not (await session.ask(plan, answered)).is_ok:
            answered.clear()
            await asyncio.sleep(_AGAIN_S)
        operations += answered


def _now() -> float:
    return asyncio.get_running_loop().time()


def _vector(token: bytes, key: bytes) -> Vector:
    """A context, opened."""
    if not token:
        return {}
    return {str(actor): count for actor, count in told_by(token, DEFAULT_KEYSPACE, key).vector.entries}
