"""The key-value API as a client meets it: the messages of proto/kv.proto, in a session and unary."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ProtocolMismatch,
    QuorumNotReached,
)
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES, MAX_SEEN_DOTS
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.sending_time import UNTIL_KEY
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.node.node_options import NodeOptions
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.simulator.world.transport import SimulatedTransport
from tests.node.small_world import Node, World

AnswerT = TypeVar("AnswerT", bound=Message)


class Client:
    """A client's end of a session, on a process of its own."""

    def __init__(self, world: World) -> None:
        self._transport = SimulatedTransport(
            "client",
            loop=world.loop,
            network=world.network,
            process=world.loop.process("client"),
            clock=world.nodes["n1"].clock,
            is_client=True,
        )
        self._transport.set_peers(dict.fromkeys(world.names, ""))

    async def ask(
        self, method: str, request: Message | bytes, answer: type[AnswerT], to: str = "n1"
    ) -> AnswerT:
        body = request if isinstance(request, bytes) else request.SerializeToString()
        data = await self._transport.call(
            cast("Any", to), method, body, timeout_s=2.0, priority=Priority.WRITE
        )
        return answer.FromString(data)


def test_a_session_puts_gets_and_deletes() -> None:
    world = World()

    async def story() -> None:
        client = Client(world)
        name = kv_pb2.OperationId(session=7, sequence=1, birth=0)
        put = kv_pb2.PutRequest(key=b"k", value=b"v", w="all", operation=name, durability="sync")
        receipt = await client.ask("kv.put", put, kv_pb2.WriteReceipt)
        assert receipt.w == 3
        assert {(ack.node, ack.role, ack.durability) for ack in receipt.replicas} == {
            (node, "owner", "synced") for node in world.names
        }
        assert receipt.epoch == 1
        got = await client.ask("kv.get", kv_pb2.GetRequest(key=b"k"), kv_pb2.GetResponse, "n2")
        assert [(sibling.value, sibling.dot) for sibling in got.siblings] == [(b"v", receipt.dot)]
        assert got.context == receipt.context
        assert got.hybrid_time > 0
        delete = kv_pb2.DeleteRequest(key=b"k", context=got.context)
        await client.ask("kv.delete", delete, kv_pb2.WriteReceipt, "n3")
        gone = await client.ask("kv.get", kv_pb2.GetRequest(key=b"k"), kv_pb2.GetResponse)
        assert not gone.siblings
        assert gone.context

    world.run(story())


def test_an_empty_value_is_a_value_and_no_delete() -> None:
    world = World()

    async def story() -> None:
        client = Client(world)
        await client.ask("kv.put", kv_pb2.PutRequest(key=b"k", value=b""), kv_pb2.WriteReceipt)
        got = await client.ask("kv.get", kv_pb2.GetRequest(key=b"k"), kv_pb2.GetResponse)
        assert [sibling.value for sibling in got.siblings] == [b""]

    world.run(story())


def test_a_client_hears_who_did_not_ack_before_its_own_time_is_up() -> None:
    world = World()

    async def story() -> None:
        client = Client(world)
        world.loop.pause(world.nodes["n3"].process)
        put = kv_pb2.PutRequest(key=b"k", value=b"v", w="all")
        with pytest.raises(QuorumNotReached) as lost:
            await client.ask("kv.put", put, kv_pb2.WriteReceipt)
        assert sorted(lost.value.acked) == ["n1", "n2"]
        assert list(lost.value.failed) == ["n3"]

    world.run(story())


def test_rubbish_and_unknown_settings_are_refused_and_the_node_goes_on() -> None:
    world = World()

    async def story() -> None:
        client = Client(world)
        with pytest.raises(ProtocolMismatch, match="not a PutRequest"):
            await client.ask("kv.put", b"\xff\xff\xff", kv_pb2.WriteReceipt)
        with pytest.raises(InvalidArgument, match="not a durability"):
            await client.ask("kv.put", kv_pb2.PutRequest(key=b"k", durability="hope"), kv_pb2.WriteReceipt)
        with pytest.raises(InvalidArgument, match="no keyspace 'nope'"):
            await client.ask("kv.get", kv_pb2.GetRequest(key=b"k", keyspace="nope"), kv_pb2.GetResponse)
        await client.ask("kv.put", kv_pb2.PutRequest(key=b"k", value=b"v"), kv_pb2.WriteReceipt)

    world.run(story())


@dataclass
class UnaryCall:
    """What a servicer method sees of a unary call."""

    left_s: float | None = None
    told: tuple[tuple[str, str], ...] = ()
    on_end: list[Callable[[object], None]] = field(default_factory=list)

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self.on_end.append(callback)

    def time_remaining(self) -> float | None:
        return self.left_s

    def peer(self) -> str:
        return "ipv4:127.0.0.1:40000"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.told

    async def send_initial_metadata(self, told: object) -> None:
        """Nobody listens."""

    async def abort(self, code: object, details: str, metadata: Sequence[tuple[str, bytes]]) -> None:
        error = error_in_metadata(metadata)
        assert error is not None
        raise error


def unary_caller(node: Node, call: UnaryCall) -> Callable[..., Any]:
    """Asks a node's methods as its gRPC server does, each time in this call."""
    handlers = grpc_handlers([node.service.service()], node.clock)["ringmill.v1.Kv"]

    async def ask(method: str, request: Message, answer: type[Message]) -> Any:
        of_its_own = replace(call, on_end=[])
        try:
            answered = await handlers[method].unary_unary(request.SerializeToString(), of_its_own)
        finally:
            for each in of_its_own.on_end:
                each(of_its_own)
        return answer.FromString(answered)

    return ask


def test_a_unary_call_answers_like_a_session_and_locate_shows_the_copies() -> None:
    world = World(4)

    async def story() -> None:
        ask = unary_caller(world.nodes["n1"], UnaryCall(left_s=3.0))
        receipt = await ask("Put", kv_pb2.PutRequest(key=b"k", value=b"v", w="all"), kv_pb2.WriteReceipt)
        got = await ask("Get", kv_pb2.GetRequest(key=b"k"), kv_pb2.GetResponse)
        assert [sibling.value for sibling in got.siblings] == [b"v"]
        located = await ask("Locate", kv_pb2.LocateRequest(key=b"k"), kv_pb2.LocateResponse)
        assert [list(copy.dots) for copy in located.owners] == [[receipt.dot]] * 3
        assert all(copy.same and copy.answered for copy in located.owners)
        assert len(located.fallbacks) == 1
        await ask("Delete", kv_pb2.DeleteRequest(key=b"k"), kv_pb2.WriteReceipt)
        with pytest.raises(InvalidArgument, match="the key has 2000 bytes"):
            await ask("Get", kv_pb2.GetRequest(key=b"k" * 2000), kv_pb2.GetResponse)

    world.run(story())


def test_the_calls_that_operations_shows_for_grpcurl_have_answers_of_the_form_that_it_shows() -> None:
    page = Path(__file__).parents[3] / "docs" / "operations.md"
    shown = re.findall(
        r"^\$ grpcurl [^']*'(.+?)' \S+ ringmill\.v1\.Kv/(\w+)\n(\{\n.*?\n\})$",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert [method for _, method, _ in shown] == ["Put", "Get"]
    world = World()

    async def story() -> None:
        ask = unary_caller(world.nodes["n1"], UnaryCall(left_s=3.0))
        for asked, method, answered in shown:
            described = kv_pb2.DESCRIPTOR.services_by_name["Kv"].methods_by_name[method]
            request = json_format.Parse(asked, getattr(kv_pb2, described.input_type.name)())
            answer = getattr(kv_pb2, described.output_type.name)
            told, expected = await ask(method, request, answer), json_format.Parse(answered, answer())
            assert {each.name for each, _ in told.ListFields()} == {
                each.name for each, _ in expected.ListFields()
            }
        assert [sibling.value for sibling in told.siblings] == [b"world"]

    world.run(story())


def test_what_no_session_holds_is_refused_by_its_length_before_it_is_read() -> None:
    world = World()
    seen = kv_pb2.Seen(dots=["n1#1.0000000000:1"] * (MAX_SEEN_DOTS + 1))

    async def story() -> None:
        ask, client = unary_caller(world.nodes["n1"], UnaryCall(left_s=3.0)), Client(world)
        for seen_times in (False, True):
            get = kv_pb2.GetRequest(key=b"k", seen=seen)
            if seen_times:
                get.seen.CopyFrom(kv_pb2.Seen(times=[1] * (MAX_SEEN_DOTS + 1)))
            with pytest.raises(InvalidArgument, match=f"the limit is {MAX_SEEN_DOTS}"):
                await ask("Get", get, kv_pb2.GetResponse)
            with pytest.raises(InvalidArgument, match=f"the limit is {MAX_SEEN_DOTS}"):
                await client.ask("kv.get", get, kv_pb2.GetResponse)
        with pytest.raises(InvalidArgument, match=f"the limit is {MAX_SEEN_DOTS}"):
            await client.ask("kv.put", kv_pb2.PutRequest(key=b"k", seen=seen), kv_pb2.WriteReceipt)
        del seen.dots[-1]
        await ask("Put", kv_pb2.PutRequest(key=b"k", w="all"), kv_pb2.WriteReceipt)
        with pytest.raises(QuorumNotReached, match="the session has seen"):
            await ask("Get", kv_pb2.GetRequest(key=b"k", seen=seen), kv_pb2.GetResponse)
        long = kv_pb2.GetRequest(key=b"k" * MAX_CLIENT_MESSAGE_BYTES)
        with pytest.raises(InvalidArgument, match=f"over the limit of {MAX_CLIENT_MESSAGE_BYTES}"):
            await ask("Get", long, kv_pb2.GetResponse)

    world.run(story())


def test_a_unary_write_whose_caller_waits_no_longer_is_not_done() -> None:
    world = World()

    async def story() -> None:
        n1 = world.nodes["n1"]
        put, get = kv_pb2.PutRequest(key=b"k", value=b"late"), kv_pb2.GetRequest(key=b"k")
        now_us = int(n1.clock.boottime() * 1e6)
        late = UnaryCall(3.0, ((UNTIL_KEY, str(now_us - 1)),))
        with pytest.raises(DeadlineExceeded, match="waited past its deadline"):
            await unary_caller(n1, late)("Put", put, kv_pb2.WriteReceipt)
        ask = unary_caller(n1, UnaryCall(3.0))
        assert not (await ask("Get", get, kv_pb2.GetResponse)).siblings
        in_time = UnaryCall(3.0, ((UNTIL_KEY, str(now_us + 2_000_000)),))
        await unary_caller(n1, in_time)("Put", put, kv_pb2.WriteReceipt)
        assert (await ask("Get", get, kv_pb2.GetResponse)).siblings

    world.run(story())


def test_unary_calls_beyond_what_a_node_can_do_are_refused_and_not_done() -> None:
    few = WorkLimitOptions(first_limit=4, least_limit=4, most_limit=4, least_queue=6, first_rate=1)
    world = World(options=NodeOptions(work_limit=few))
    keys = [b"k%d" % number for number in range(20)]

    async def story() -> None:
        ask = unary_caller(world.nodes["n1"], UnaryCall(3.0))
        puts = [ask("Put", kv_pb2.PutRequest(key=key, value=b"v"), kv_pb2.WriteReceipt) for key in keys]
        told = await asyncio.gather(*puts, return_exceptions=True)
        refused = {key for key, each in zip(keys, told, strict=True) if isinstance(each, BaseException)}
        errors = [str(each) for each in told if isinstance(each, BaseException)]
        assert 0 < len(refused) < 20
        assert all("has more to do than it can: nothing was done" in error for error in errors)
        for key in keys:
            got = await ask("Get", kv_pb2.GetRequest(key=key), kv_pb2.GetResponse)
            assert bool(got.siblings) == (key not in refused)

    world.run(story())
