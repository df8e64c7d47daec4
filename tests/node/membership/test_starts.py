"""Starts told to members: who may serve when, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import PermissionDenied, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, Start
from ringmill.cluster.membership.start_rules import (
    NO_MARK,
    Announcement,
    FoundLogs,
    LogMark,
    Remembered,
    decode_remembered,
    encode_remembered,
)
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.node.identity.identity import FolderRefused
from ringmill.node.membership.starts import START_TELL, Starts
from ringmill.node.membership.topology_agent import TopologyAgent
from tests.node.kept_values import KeptValues
from tests.node.membership.test_topology_agent import Network, NetworkTransport, member

N1, N2, N3 = (NodeId(f"n{i}") for i in (1, 2, 3))
FIRST, SECOND = Start(1, "aa"), Start(2, "bb")


def topology_of(members: int) -> Topology:
    return first_topology("test", [member(i + 1) for i in range(members)], partitions=16, n=1, r=1, w=1)


@dataclass
class One:
    """One start of one node."""

    starts: Starts
    agent: TopologyAgent
    mark: LogMark = NO_MARK
    changes: int = 0
    refusals: list[Start] = field(default_factory=list)
    life: asyncio.Task[None] | None = None


class Cluster:
    def __init__(self, members: int = 3) -> None:
        self.topology = topology_of(members)
        self.network = Network()
        self.disks = {NodeId(f"n{i + 1}"): KeptValues() for i in range(members)}
        self.lives: list[asyncio.Task[None]] = []

    async def start(
        self,
        node: NodeId,
        start: Start,
        *earlier: Start,
        logs: Sequence[LogMark] = (),
        disk: KeptValues | None = None,
    ) -> One:
        transport = NetworkTransport(self.network, node)
        store = disk or self.disks[node]
        seat = self.topology.member(node)
        agent = TopologyAgent(
            node, disk=seat.disk, store=store, transport=transport, awaits_confirmation=True
        )
        found = FoundLogs(max((log.log for log in logs), default=0), tuple(logs))
        one: One

        async def refuse(known: Start) -> FolderRefused:
            one.refusals.append(known)
            return FolderRefused("an old copy")

        starts = Starts(
            Announcement(node, seat.disk, start, earlier, found),
            topology=agent,
            store=store,
            transport=transport,
            mark=lambda: one.mark,
            changes=lambda: one.changes,
            refuse=refuse,
            clock=SystemClock(),
        )
        for method, handler in {**agent.handlers(), **starts.handlers()}.items():
            transport.serve(method, handler)
        one = One(starts, agent)
        self.network.gone.discard(node)
        await agent.take_first(self.topology.encode())
        one.life = asyncio.create_task(starts.run())
        self.lives += [one.life, asyncio.create_task(agent.run())]
        return one

    def gone(self, *nodes: NodeId) -> None:
        self.network.gone |= set(nodes)

    async def end(self) -> None:
        for life in self.lives:
            life.cancel()
        await asyncio.gather(*self.lives, return_exceptions=True)


@asynccontextmanager
async def cluster(members: int = 3) -> AsyncIterator[Cluster]:
    made = Cluster(members)
    try:
        yield made
    finally:
        await made.end()


def knows(one: One, mark: LogMark) -> bool:
    """Whether a member was told how far n1's log is."""
    remembered = one.starts.remembered(topology_of(3).member(N1).disk)
    return remembered is not None and remembered.mark == mark


async def serving(one: One) -> None:
    async with asyncio.timeout(30):
        await one.agent.wait_formed()
    one.agent.serving_topology()


async def refused(one: One) -> FolderRefused:
    assert one.life is not None
    with suppress(ExceptionGroup):
        async with asyncio.timeout(30):
            await one.life
    error = one.life.exception()
    assert isinstance(error, ExceptionGroup)
    found = error.exceptions[0]
    assert isinstance(found, FolderRefused)
    return found


async def test_all_may_start_at_once_and_a_node_alone_needs_nobody() -> None:
    async with cluster(3) as three:
        for one in [await three.start(node, FIRST) for node in (N1, N2, N3)]:
            await serving(one)
    async with cluster(1) as alone:
        await serving(await alone.start(N1, FIRST))


@pytest.mark.parametrize("start", [FIRST, Start(1 << 40, "forged")], ids=["the present one", "a later one"])
async def test_a_member_says_nothing_of_the_start_of_another_one(start: Start) -> None:
    """Three such messages ended a running node, and its folder noted that."""
    async with cluster(3) as three:
        ones = [await three.start(node, FIRST) for node in (N1, N2, N3)]
        for one in ones:
            await serving(one)
        if start != FIRST:
            three.gone(N1)  # it does not say that it runs
        forged = Announcement(N1, three.topology.member(N1).disk, start, (FIRST,), FoundLogs(1 << 41))
        body = replace(forged, mark=LogMark(1 << 40, 1 << 40)).encode()
        liar = NetworkTransport(three.network, N3)
        liar.set_peers({N2: ""})
        with pytest.raises(PermissionDenied, match="n3 announces a start of n1, not its own"):
            await liar.call(N2, START_TELL, body, timeout_s=1, priority=Priority.CONTROL)
        remembered = ones[1].starts.remembered(three.topology.member(N1).disk)
        assert remembered is not None and (remembered.start, remembered.mark) == (FIRST, NO_MARK)


async def test_one_of_three_may_be_down_while_another_starts() -> None:
    async with cluster(3) as three:
        three.gone(N3)
        for one in [await three.start(node, FIRST) for node in (N1, N2)]:
            await serving(one)


async def test_a_start_that_nobody_confirms_serves_nothing_until_somebody_does() -> None:
    async with cluster(3) as three:
        one = await three.start(N1, FIRST)
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="half of the other members have yet to confirm") as told:
            one.agent.serving_topology()
        assert told.value.outcome == "failed" and not one.agent.may_speak
        await three.start(N2, FIRST)
        await serving(one)


async def test_a_member_that_cannot_note_a_start_does_not_confirm_it() -> None:
    class Full(KeptValues):
        async def put_synced(self, name: str, value: bytes) -> None:
            if name == "starts":
                raise Unavailable("no space left")
            await super().put_synced(name, value)

    async with cluster(3) as three:
        three.disks[N2] = Full()
        one = await three.start(N1, FIRST)
        await three.start(N2, FIRST)
        await asyncio.sleep(0.1)
        assert not one.agent.serving
        await three.start(N3, FIRST)
        await serving(one)


async def test_an_older_copy_is_refused_also_after_its_members_started_again() -> None:
    async with cluster(3) as three:
        for one in [await three.start(node, SECOND, FIRST) for node in (N1, N2)]:
            await serving(one)
        await three.end()
        await three.start(N2, Start(3, "cc"), SECOND, FIRST)
        copy = await three.start(N1, Start(2, "other"), FIRST)
        await refused(copy)
        assert copy.refusals == [SECOND]
        assert not copy.agent.serving


async def test_a_copy_that_lacks_the_end_of_the_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmill.node.membership.starts._NEWS_EVERY_S", 0.1)
    monkeypatch.setattr("ringmill.node.membership.starts._KEEP_EVERY_S", 0.2)
    async with cluster(3) as three:
        one = await three.start(N1, FIRST)
        other = await three.start(N2, FIRST)
        await serving(one)
        one.mark, one.changes = LogMark(4, 900), 1
        async with asyncio.timeout(30):
            while not knows(other, one.mark):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
        three.lives[0].cancel()
        copy = await three.start(N1, SECOND, FIRST, logs=[LogMark(4, 899)])
        await refused(copy)
        whole = await three.start(N1, Start(2, "cc"), FIRST, logs=[LogMark(4, 900)])
        await serving(whole)


async def test_a_node_that_is_put_back_to_a_snapshot_of_its_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the same start, so what its log held is all that tells."""
    monkeypatch.setattr("ringmill.node.membership.starts._NEWS_EVERY_S", 0.1)
    monkeypatch.setattr("ringmill.node.membership.starts._KEEP_EVERY_S", 0.1)
    async with cluster(3) as three:
        one = await three.start(N1, FIRST)
        others = [await three.start(node, FIRST) for node in (N2, N3)]
        await serving(one)
        one.mark, one.changes = LogMark(4, 900), 1
        async with asyncio.timeout(30):
            while not all(knows(other, one.mark) for other in others):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
        one.mark, one.changes = LogMark(4, 500), 2
        await refused(one)
        assert {*one.refusals} == {FIRST}
        assert not one.agent.serving


async def test_the_end_of_the_log_that_was_not_on_the_disk_yet_is_reported_with_the_next_beat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ringmill.node.membership.starts._AGAIN_EVERY", 1 << 30)
    monkeypatch.setattr("ringmill.node.membership.starts._NEWS_EVERY_S", 0.1)
    monkeypatch.setattr("ringmill.node.membership.starts._KEEP_EVERY_S", 0.2)
    async with cluster(2) as two:
        one = await two.start(N1, FIRST)
        other = await two.start(N2, FIRST)
        await serving(one)
        async with asyncio.timeout(30):
            one.mark, one.changes = LogMark(4, 900), 1  # a change whose sync is under way
            while not knows(other, one.mark):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            one.mark = LogMark(4, 950)
            while not knows(other, one.mark):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)


async def test_a_copy_of_a_folder_in_use_is_refused_and_the_one_in_use_goes_on() -> None:
    async with cluster(3) as three:
        one = await three.start(N1, FIRST)
        await serving(await three.start(N2, FIRST))
        answering = dict(three.network.handlers)
        copy = await three.start(N1, SECOND, FIRST, disk=KeptValues())
        three.network.handlers.update({key: answering[key] for key in answering if key[0] == N1})
        error = await refused(copy)
        assert "n1 runs already on this data, as start 1" in error.message
        assert copy.refusals == []  # it is no old copy: once the other has ended it may start
        assert one.agent.serving


async def test_a_member_that_is_stopping_notes_nothing_any_more() -> None:
    """Its store may be closed already."""
    async with cluster(3) as three:
        one, other = [await three.start(node, FIRST) for node in (N1, N2)]
        await serving(one)
        assert other.life is not None
        other.life.cancel()
        await asyncio.wait([other.life])
        kept = dict(three.disks[N2].durable)
        again = await three.start(N1, SECOND, FIRST)
        await asyncio.sleep(0.1)
        assert not again.agent.serving
        assert three.disks[N2].durable == kept


async def test_a_member_that_has_left_is_told_no_more_and_one_that_comes_again_is() -> None:
    def told() -> set[str]:
        names = {task.get_name() for task in asyncio.all_tasks()}
        return {name.split()[1] for name in names if name.endswith("of this start")}

    async def until(members: set[str]) -> None:
        async with asyncio.timeout(5):
            while told() != members:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async with cluster(3) as three:
        one = await three.start(N1, FIRST)
        before, epoch = three.topology, Epoch(2)
        seat = before.member(N1).seat
        rows = [replace(row, owners=(seat,), row_epoch=epoch, copy_epochs=(epoch,)) for row in before.rows]
        left = replace(before, epoch=epoch, members=before.members[:2], voters=(seat,), rows=tuple(rows))
        await until({N2, N3})
        await one.agent.adopt(left)
        await until({N2})
        await one.agent.adopt(replace(left, epoch=Epoch(3), members=before.members))
        await until({N2, N3})


async def test_a_copy_that_one_of_four_others_has_noted_does_not_end_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not confirmed, so it cannot serve beside the original; two members could have confirmed it."""
    monkeypatch.setattr("ringmill.node.membership.starts._NEWS_EVERY_S", 0.1)
    async with cluster(5) as five:
        names = [NodeId(f"n{i + 1}") for i in range(5)]
        nodes = {node: await five.start(node, FIRST) for node in names}
        for one in nodes.values():
            await serving(one)
        disk = five.topology.member(N1).disk
        for noting, is_ended in ((names[1], False), (names[2], True)):
            remembered = {**nodes[noting].starts._remembered, disk: Remembered(N1, SECOND)}
            nodes[noting].starts._remembered = remembered
            nodes[N1].changes += 1
            async with asyncio.timeout(30):
                while noting not in nodes[N1].starts._refused_by:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)
            assert (nodes[N1].refusals == [SECOND]) is is_ended
            assert nodes[N1].agent.serving is not is_ended


async def test_marks_are_kept_without_the_disks_that_have_left_and_these_are_known_all_the_same() -> None:
    async with cluster(3) as three:
        left = [DiskId(f"{number:032x}") for number in range(1_000, 2_000)]
        mine = three.disks[N2]
        mine.durable["starts"] = encode_remembered({disk: Remembered(N3, FIRST) for disk in left})
        other = await three.start(N2, FIRST)
        assert await other.starts.former_disks([left[0]], 0.1) == {left[0]}
        one = await three.start(N1, FIRST)
        await serving(one)
        disks = [member.disk for member in three.topology.members[:1]]
        assert [*decode_remembered(mine.durable["starts"])] == disks
        assert len(mine.durable["starts"]) < 200
        assert other.life is not None
        other.life.cancel()
        await asyncio.wait([other.life])
        again = await three.start(N2, SECOND, FIRST)
        assert all(again.starts.knows(disk) for disk in (*left, *disks))
        assert await again.starts.former_disks([*left[:3], *disks], 0.1) == {*left[:3]}
