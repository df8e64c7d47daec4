"""One message that no node of this release can have sent takes no register from the others (R1, R2)."""

from __future__ import annotations

from itertools import count

import pytest

from ringmill.cluster.consensus.ballots import MAX_COUNTER, Ballot
from ringmill.cluster.consensus.register import Incr, Register
from ringmill.cluster.consensus.register_codec import encode_register
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ports import Priority
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.registers.register_messages import (
    ACCEPT,
    PREPARE,
    REGISTER_PAGE,
    AskRegisters,
    RegisterRequest,
)
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from tests.node.small_world import World

SEQUENCE = count(1)


VALUE = encode_register(Register(9, b"9"))


@pytest.mark.parametrize(
    ("method", "counter", "value"),
    [
        (PREPARE, MAX_COUNTER, b""),
        (ACCEPT, MAX_COUNTER, VALUE),
        (REGISTER_PAGE, 1 << 63, b""),
        (REGISTER_PAGE, MAX_COUNTER, b""),
        (ACCEPT, 500, b"\x01garbage"),
        (ACCEPT, 500, b""),
    ],
)
def test_a_wild_message_is_refused_and_registers_go_on(method: str, counter: int, value: bytes) -> None:
    world = World()

    async def incr(name: str) -> int | None:
        where, operation = RegisterRead("", b"hits", 3), OperationId(1, next(SEQUENCE), HybridTime(0))
        request = ChangeRequest(where, Incr(1), operation)
        return (await world.on(name, world.nodes[name].requests.change_register(request))).number

    async def story() -> None:
        await incr("n1")
        epoch = world.topology.epoch
        if method == REGISTER_PAGE:
            body = AskRegisters(epoch, PartitionId(0), counter, b"").encode()
        else:
            ballot = Ballot(counter, NodeId("wild"), 1, "")
            body = RegisterRequest(epoch, KeyspaceId(1, 1), b"hits", ballot, value).encode()
        sent = world.nodes["n2"].core.transport.call(
            NodeId("n1"), method, body, timeout_s=3, priority=Priority.WRITE
        )
        with pytest.raises((ProtocolMismatch, CorruptData)):
            await world.on("n2", sent)
        for told, name in enumerate(("n1", "n1", "n2", "n3"), 2):
            assert await incr(name) == told

    world.run(story())
