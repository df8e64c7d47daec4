"""What clients ask of a node is counted once, by method and outcome, under names that they cannot make up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, NotFound, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.ports import Incoming
from ringmill.node.metrics.metered_tables import metered
from ringmill.node.metrics.verbs import verb_of
from ringmill.node.services.table import Call, Service, Unary
from tests.cluster.adapters.conftest import carrier, nodes

__all__ = ["carrier", "nodes"]


def answer(incoming: Incoming) -> bytes:
    if incoming.body == b"missing":
        raise NotFound("no such key")
    return b""


async def later(incoming: Incoming) -> bytes:
    await asyncio.sleep(0.02)
    return answer(incoming)


async def test_a_session_is_counted_by_method_and_outcome(nodes: Any) -> None:
    n1 = await nodes.start("n1", handlers={"kv.get": answer, "kv.cas": later, "replica.apply": answer})
    n1.meter_by(meter := RequestMeter())
    async with ClientLink(nodes.addresses[NodeId("n1")], transport=nodes.carrier) as link:
        await asyncio.gather(*(link.session_call("kv.get", b"", 5) for _ in range(20)))
        for method in ("kv.get", "kv.cas"):
            with pytest.raises(NotFound):
                await link.session_call(method, b"missing", 5)
        for invented in ("kv.invented", "invented", "replica.apply"):
            with pytest.raises(ProtocolMismatch):
                await link.session_call(invented, b"", 5)
        assert n1.streams() == (1, 0)
    assert {name: dict(each.outcomes) for name, each in meter.methods.items()} == {
        "kv.get": {"ok": 20, "not_found": 1},
        "kv.cas": {"ok": 0, "not_found": 1},
    }
    assert meter.methods["kv.get"].times.count == 21
    assert meter.methods["kv.cas"].times.max_ns >= 20_000_000


async def test_what_other_nodes_ask_is_not_counted(nodes: Any) -> None:
    n1 = await nodes.start("n1", handlers={"replica.apply": answer})
    n2 = await nodes.start("n2")
    n1.meter_by(meter := RequestMeter())
    await n2.call(NodeId("n1"), "replica.apply", b"", timeout_s=5, priority=1)
    assert not meter.methods


async def test_single_calls_are_counted_when_they_end() -> None:
    async def run(body: bytes, call: Call) -> bytes:
        if body == b"wait":
            await asyncio.Event().wait()
        if body == b"late":
            raise DeadlineExceeded("too late")
        return body

    meter = RequestMeter()
    (table,) = metered([Service("ringmill.v1.Kv", {"Get": Unary(run)})], meter, SystemClock())
    method = table.methods["Get"]
    assert isinstance(method, Unary)
    assert await method.run(b"v", Call()) == b"v"
    with pytest.raises(DeadlineExceeded):
        await method.run(b"late", Call())
    waiting = asyncio.ensure_future(method.run(b"wait", Call()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    counted = meter.methods["ringmill.v1.Kv/Get"].outcomes
    assert counted == {"ok": 1, "deadline_exceeded": 1, "cancelled": 1}


def test_a_verb_has_one_name_for_each_carrier() -> None:
    assert {verb_of("kv.get"), verb_of("ringmill.v1.Kv/Get")} == {"get"}
    assert verb_of("ringmill.v1.Jobs/PutBundle") == "jobs_put_bundle"
