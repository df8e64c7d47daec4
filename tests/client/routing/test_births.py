"""Of what a client has heard, what its writes are born by (rule V4)."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from ringmill.client.kv import name_of_write, under_name, write
from ringmill.client.kv_requests import put_options
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId
from ringmill.cluster.wire.stubs.registers_pb2 import IncrRequest, RegisterAnswer
from tests.client.routing.test_router import KEY, FakeCluster, SteadyEntropy, client_of

FORGED = 2**64 - 1
MINUTE = 60_000 << 16


class ForgedMemory(SessionMemory):
    """Notes no answer: those of the fake cluster have no contexts that can be read."""

    def note_write(self, *_: object) -> None: ...


@pytest.mark.parametrize("newest", [FORGED, 78, 5])
async def test_what_a_session_has_seen_counts_for_its_own_writes_alone_and_within_a_minute(
    newest: int,
) -> None:
    cluster = FakeCluster()
    memory = ForgedMemory(ClusterId("c"))
    memory.newest = newest
    async with client_of(cluster) as db:
        await db.put(KEY, b"1")
        await write(db, KEY, b"2", put_options(), memory)
        await db.put(KEY, b"3")
    births = [write.operation.birth for write in cluster.writes]
    assert births == [0, {FORGED: 77 + MINUTE, 78: 78, 5: 77}[newest], 77]


async def test_a_client_that_has_heard_nothing_takes_no_birth_from_a_session() -> None:
    cluster = FakeCluster()
    memory = ForgedMemory(ClusterId("c"))
    memory.newest = FORGED
    async with client_of(cluster) as db:
        await write(db, KEY, b"1", put_options(), memory)
    assert [write.operation.birth for write in cluster.writes] == [0]


async def test_a_write_that_is_refused_as_born_too_late_is_sent_again_as_another_one() -> None:
    """The client has heard of a clock that is far ahead; without this, all its writes would be refused."""
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        db._operations.observe(FORGED)
        refusals = cluster.owners(KEY)[0].refusals
        refusals.append(InvalidArgument("ahead", detail={"newest_birth": 50}))
        await db.put(KEY, b"1")
        assert [(each.operation.sequence, each.operation.birth) for each in cluster.writes] == [(2, 50)]
        refusals.append(InvalidArgument("ahead", detail={"newest_birth": 40}))
        with pytest.raises(InvalidArgument, match="ahead"):
            await under_name(db, name_of_write(db)).put(KEY, b"2")
        assert name_of_write(db).birth == 40
        refusals.append(InvalidArgument("ahead", detail={"newest_birth": 30}))
        assert isinstance((await db.mput([(KEY, b"3")]))[0], InvalidArgument)
        assert name_of_write(db).birth == 30


async def test_a_change_of_a_register_is_sent_again_as_well() -> None:
    cluster = FakeCluster()
    births: list[int] = []
    answer = cluster.answer

    def told(request: Message) -> Message:
        if not isinstance(request, IncrRequest):
            return answer(request)
        births.append(request.operation.birth)
        if request.operation.birth == FORGED:
            raise InvalidArgument("ahead", detail={"newest_birth": 50})
        return RegisterAnswer(version=1, number=5)

    cluster.answer = told  # type: ignore[method-assign]
    async with client_of(cluster) as db:
        db._operations.observe(FORGED)
        registers = AsyncRegisters(
            db._router, db._operations, clock=SystemClock(), entropy=SteadyEntropy(), name="default"
        )
        assert await registers.incr("n") == 5
    assert births == [FORGED, 50]
