"""Most voters are gone permanently: by the operator's word the others go on as another cluster (rule T9)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.errors import CorruptData, InvalidArgument, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring import recovery
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.moves import advanced, with_plan
from ringmill.cluster.ring.succession import with_keyspaces
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.ring.topology_entries import JOINT_2, Owner, Row
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPT, EPOCH_ACCEPTED, EpochAnswer, EpochRequest
from ringmill.node.membership.offering import Offering
from ringmill.node.membership.recovering import Recovering
from ringmill.node.moves import mover
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.patching import function, method, patched
from tests.node.membership.test_replacement import KEYS, incr, is_filled, lose, replace, told, until
from tests.node.repair.healing_world import HealingWorld, run


async def go_on(world: HealingWorld, by: str, *lost: str) -> tuple[Topology, bool]:
    recovering = world[by].membership.recovering
    return await world.inside(by, recovering.go_on_without({NodeId(name) for name in lost}))


async def fill(world: HealingWorld) -> None:
    for number, key in enumerate(KEYS):
        await world.put(f"n{1 + number % 3}", key, b"v%d" % number, "all")
        await incr(world, "n1", key, number)


def kill(world: HealingWorld, *names: str) -> None:
    for name in names:
        world.world.nodes[name].kill(CrashModel.PREFIX)


def test_one_of_three_brings_up_two_empty_disks() -> None:
    """Also when it has started alone, so that nobody can confirm its start."""

    async def story(world: HealingWorld) -> None:
        await fill(world)
        kill(world, "n1", "n2", "n3")
        world.world.nodes["n1"].start()
        await world.world.nodes["n1"].up()
        assert not world["n1"].membership.topology.serving
        made, is_new = await go_on(world, "n1", "n2", "n3")
        assert is_new and made.voter_nodes == ("n1",) and made.cluster not in made.formers
        assert await go_on(world, "n1", "n2", "n3") == (made, False)
        await until(lambda: world["n1"].membership.topology.serving)
        assert await world.get("n1", KEYS[7], "1") == [b"v7"]

        disk = await lose(world, "n2")
        await replace(world, "n1", "n2", disk)
        await until(lambda: len(world["n2"].repair.healing.loss.short) == 16)
        healing = world["n2"].repair.healing
        healing.accept_loss([NodeId("n3")])
        await until(lambda: is_filled(world, "n2"))
        disk = await lose(world, "n3")
        await replace(world, "n2", "n3", disk)
        await until(lambda: is_filled(world, "n3"))
        topology = world["n3"].membership.topology.serving_topology()
        assert sorted(topology.voter_nodes) == ["n1", "n2", "n3"], "votes are dealt out again"
        kill(world, "n1")
        for number, key in enumerate(KEYS):
            assert await world.get("n2", key) == [b"v%d" % number]
            assert await incr(world, "n3", key, 1000 + number) == 2

    run(story)


@pytest.mark.parametrize("by", ["n1", "n2"])
@pytest.mark.parametrize("serves", [True, False])
def test_a_change_that_a_member_that_is_left_has_accepted_is_not_lost(by: str, serves: bool) -> None:
    """The lost ones may have decided it, and answered."""

    async def story(world: HealingWorld) -> None:
        current = world["n3"].membership.topology.serving_topology()
        first, later = (created(current, NewKeyspace(name)) for name in ("former", "carts"))
        assert first is not None and later is not None
        for counter, document, node in ((5, first, "n2"), (7, later, "n1")):
            ballot = Ballot(counter, NodeId("n3"), 1, "boot")
            request = EpochRequest(current.cluster, later.epoch, ballot, document.encode()).encode()
            call = world["n3"].core.transport.call
            await world.inside(
                "n3", call(NodeId(node), EPOCH_ACCEPT, request, timeout_s=3, priority=Priority.CONTROL)
            )
        kill(world, "n3", "n4", "n5")
        for name in ("n1", "n2") if not serves else ():
            kill(world, name)
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        made, _ = await go_on(world, by, "n3", "n4", "n5")
        assert made.has_keyspace("carts") and not made.has_keyspace("former")
        await until(lambda: all(world[name].membership.topology.current == made for name in ("n1", "n2")))

    run(story, nodes=5)


def test_a_member_that_was_silent_for_a_moment_is_not_lost() -> None:
    """The one that is asked sees it up, and asks it again."""

    async def story(world: HealingWorld) -> None:
        kill(world, "n3")
        await asyncio.sleep(10)
        link = world.world.network.link
        link("n1", "n2").is_cut = link("n2", "n1").is_cut = True
        giving_up = asyncio.ensure_future(go_on(world, "n1", "n2", "n3"))
        await asyncio.sleep(2)
        link("n1", "n2").is_cut = link("n2", "n1").is_cut = False
        with pytest.raises(InvalidArgument, match="n2 answers: it is not lost"):
            await giving_up

    run(story)


def test_a_member_that_is_left_and_silent_for_a_moment_is_asked_again() -> None:
    """As one that has just started: a link that was refused a moment ago is not dialled at once."""

    async def story(world: HealingWorld) -> None:
        kill(world, "n3", "n4", "n5")
        await asyncio.sleep(10)
        link = world.world.network.link
        link("n1", "n2").is_cut = link("n2", "n1").is_cut = True
        going_on = asyncio.ensure_future(go_on(world, "n1", "n3", "n4", "n5"))
        await asyncio.sleep(2)
        link("n1", "n2").is_cut = link("n2", "n1").is_cut = False
        made, is_new = await going_on
        assert is_new
        await until(lambda: world["n2"].membership.topology.current == made)

    run(story, nodes=5)


def named_disk(topology: Topology, node: NodeId) -> DiskId:
    return topology.member(node).disk


@pytest.mark.parametrize("is_foreign", [True, False])
def test_disks_that_come_back_are_foreign_and_nothing_of_them_is_merged(is_foreign: bool) -> None:
    """Were their disks named, they would be merged in, whatever was decided since."""

    async def story(world: HealingWorld) -> None:
        await fill(world)
        kill(world, "n1")
        await world.put("n2", KEYS[0], b"given up")
        kill(world, "n2", "n3")
        world.world.nodes["n1"].start()
        await world.world.nodes["n1"].up()
        await go_on(world, "n1", "n2", "n3")
        for name in ("n2", "n3"):
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        await asyncio.sleep(30)
        if not is_foreign:
            assert await world.get("n1", KEYS[0]) == [b"given up"]
            return
        for name in ("n2", "n3"):
            assert world[name].membership.topology.is_displaced
            with pytest.raises(RingmillError, match=f"the disk of {name} was given up"):
                await world.get(name, KEYS[0], "1")
        assert await world.get("n1", KEYS[0], "1") == [b"v0"]
        with pytest.raises(RingmillError):
            await world.put("n1", KEYS[0], b"later", "2")

    with patched(*(() if is_foreign else (function(recovery, recovery._nobodys_disk, named_disk),))):
        run(story)


def test_a_given_up_disk_stays_so_though_another_one_of_them_answers_first() -> None:
    """Both know the former cluster alone, and would confirm each other's starts before they are offered the
    document, and then keep to what they serve."""

    async def untold(offering: Offering, node: NodeId) -> None:
        pass

    async def story(world: HealingWorld) -> None:
        await fill(world)
        kill(world, "n1", "n2", "n3")
        world.world.nodes["n1"].start()
        await world.world.nodes["n1"].up()
        await go_on(world, "n1", "n2", "n3")
        await until(lambda: world["n1"].membership.topology.serving)
        link = world.world.network.link
        link("n1", "n3").is_cut = link("n3", "n1").is_cut = True
        link("n1", "n2").latency_s = link("n2", "n1").latency_s = 0.05
        for name in ("n3", "n2"):
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        await asyncio.sleep(30)
        assert world["n2"].membership.topology.is_displaced
        assert not world["n3"].membership.topology.serving

    with patched(method(Offering._tell, untold)):
        run(story)


def test_given_up_disks_that_serve_as_before_are_told_of_by_both_sides() -> None:
    """All hosts start after a power cut, and the one that goes on is the last."""

    async def story(world: HealingWorld) -> None:
        def reasons(name: str) -> str:
            return " ".join(told(world, name))

        kill(world, "n2", "n3")
        made, _ = await go_on(world, "n1", "n2", "n3")
        assert "given up" not in reasons("n1")
        kill(world, "n1")
        for name in ("n2", "n3", "n1"):
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
            await asyncio.sleep(5)
        assert world["n2"].membership.topology.serving, "it did not hear in time"
        assert "n2, whose disk was given up, serves the former cluster: end its process" in reasons("n1")
        assert "n3, whose disk" in reasons("n1")
        assert f"others go on as {made.cluster}, which has given up this disk" in reasons("n2")
        kill(world, "n2")
        await asyncio.sleep(10)
        assert "n2, whose disk" not in reasons("n1")

    run(story)


def test_disks_that_a_first_recovery_gave_up_are_foreign_after_a_second_one() -> None:
    """They are most of the voters of the first cluster, and know neither of the others."""

    async def story(world: HealingWorld) -> None:
        await fill(world)
        first = ("n1", "n2", "n3")
        kill(world, *first)
        await go_on(world, "n4", *first)
        await until(lambda: world["n5"].membership.topology.serving)
        await until(lambda: len(world["n5"].membership.topology.serving_topology().formers) == 1)
        kill(world, "n4")
        made, _ = await go_on(world, "n5", *first, "n4")
        assert len(made.formers) == 2
        for name in first:
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        await asyncio.sleep(30)
        assert all(world[name].membership.topology.is_displaced for name in first)
        with pytest.raises(RingmillError, match="the disk of n2 was given up"):
            await world.get("n2", KEYS[0], "1")

    run(story, nodes=5)


def test_a_second_word_asks_nothing_of_those_that_the_first_one_gave_up() -> None:
    """Neither are they named again, nor are the processes on their old disks in the way."""

    async def story(world: HealingWorld) -> None:
        kill(world, "n1", "n2", "n3")
        await go_on(world, "n4", "n1", "n2", "n3")
        await until(lambda: world["n5"].membership.topology.serving)
        await until(lambda: len(world["n5"].membership.topology.serving_topology().formers) == 1)
        world.world.nodes["n1"].start()
        await world.world.nodes["n1"].up()
        await until(lambda: world["n1"].membership.topology.is_displaced)
        kill(world, "n4")
        made, is_new = await go_on(world, "n5", "n4")
        assert is_new and len(made.formers) == 2
        assert await go_on(world, "n5", "n4") == (made, False)

    run(story, nodes=5)


async def test_whoever_learns_of_another_document_while_it_asks_asks_again_by_that() -> None:
    """There a member that was given up may have a disk that lives."""
    members = [Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7000 + at}") for at in range(1, 6)]
    first = first_topology("some", members)
    lost = {NodeId(f"n{at}") for at in (1, 2, 3)}

    class Agent:
        current, is_displaced, serving = first, False, False

        async def be_given(self, told: bytes) -> None:
            self.current = Topology.decode(told)

        async def adopt(self, topology: Topology) -> None:
            self.current = topology

    newer = with_keyspaces(first, first.keyspaces)
    asked: list[NodeId] = []

    class Peers:
        async def call(self, node: NodeId, method: str, *_: object, **__: object) -> bytes:
            if method == EPOCH_ACCEPTED:
                return EpochAnswer().encode()
            asked.append(node)
            if node in lost:
                raise Unavailable("gone", outcome="failed")
            return newer.encode()

    agent: Any = Agent()
    peers: Any = Peers()
    voter: Any = SimpleNamespace(accepted=EpochAnswer())
    recovering = Recovering(
        NodeId("n4"), topology=agent, voter=voter, liveness=cast("Any", None), transport=peers
    )
    made, _ = await recovering.go_on_without(lost)
    assert asked.count(NodeId("n5")) == 2
    assert made.epoch > newer.epoch > first.epoch


@pytest.mark.parametrize("told", [ProtocolMismatch("no such method"), CorruptData("a vote")])
async def test_only_a_member_of_an_earlier_release_has_accepted_nothing_when_it_says_no(
    told: RingmillError, caplog: pytest.LogCaptureFixture
) -> None:
    told.was_told = True

    async def call(*_: object, **__: object) -> bytes:
        raise told

    of_no_use: Any = None
    peers: Any = SimpleNamespace(call=call)
    recovering = Recovering(
        NodeId("n1"), topology=of_no_use, voter=of_no_use, liveness=of_no_use, transport=peers
    )
    if isinstance(told, CorruptData):
        with pytest.raises(CorruptData):
            await recovering._ask_accepted(NodeId("n2"))
        return
    assert await recovering._ask_accepted(NodeId("n2")) == EpochAnswer()
    assert "what topology epoch n2 has accepted is not known" in caplog.text


def test_given_up_members_are_not_waited_for_when_a_clock_has_jumped() -> None:
    async def story(world: HealingWorld) -> None:
        await fill(world)
        kill(world, "n2", "n3")
        await go_on(world, "n1", "n2", "n3")
        world.world.nodes["n1"].clock.jump(7200.0)
        await world.put("n1", KEYS[0], b"later", "1")
        assert await world.get("n1", KEYS[0], "1") == [b"later"]

    run(story)


def test_a_member_that_has_not_gone_over_is_waited_for() -> None:
    """A third cluster would name the second one as the former, so a member of the first could not follow."""

    async def untold(offering: Offering, node: NodeId) -> None:
        pass

    async def story(world: HealingWorld) -> None:
        gone = ["n1", "n2", "n3"]
        kill(world, *gone)
        made, _ = await go_on(world, "n4", *gone)
        with pytest.raises(Unavailable, match="already, and n5, n6, n7 has not gone over yet"):
            await go_on(world, "n4", *gone)
        gone += [name for name in made.voter_nodes if name != "n4"]
        kill(world, *gone[3:])
        with pytest.raises(Unavailable, match="n7 has not gone over to the cluster of n4 yet"):
            await go_on(world, "n4", *gone)
        with pytest.raises(InvalidArgument, match="n7 answers: it is not lost"):
            await go_on(world, "n4", *gone, "n7")

    with patched(method(Offering._tell, untold)):
        run(story, nodes=7)


def test_whoever_learns_while_it_is_asked_that_the_word_was_given_says_who_has_not_gone_over() -> None:
    """n5 hears last from n4, which has gone over."""

    async def untold(offering: Offering, node: NodeId) -> None:
        pass

    async def story(world: HealingWorld) -> None:
        lost = ["n1", "n2", "n3"]
        kill(world, *lost)
        await asyncio.sleep(10)  # they are seen down, so each is asked once
        made, _ = await go_on(world, "n4", *lost)
        world.world.network.link("n4", "n5").latency_s = 0.1
        with pytest.raises(Unavailable, match=r"already, and .*n7 has not gone over yet"):
            await go_on(world, "n5", *lost)
        assert world["n5"].membership.topology.current == made

    with patched(method(Offering._tell, untold)):
        run(story, nodes=7)


@pytest.mark.parametrize("nodes", [2, 4])
def test_half_of_the_members_go_on_without_the_others_though_they_have_most_votes(nodes: int) -> None:
    """They have started again, so that none of them serves: too few can note that they did."""

    async def story(world: HealingWorld) -> None:
        names = [f"n{number}" for number in range(1, nodes + 1)]
        await world.put("n1", KEYS[0], b"v", "all")
        voters = world["n1"].membership.topology.serving_topology().voter_nodes
        names.sort(key=lambda name: name not in voters)
        left, lost = names[: nodes // 2], names[nodes // 2 :]
        kill(world, *names)
        for name in left:
            world.world.nodes[name].start()
            await world.world.nodes[name].up()
        await asyncio.sleep(10)
        assert not any(world[name].membership.topology.serving for name in left)
        await go_on(world, left[0], *lost)
        await until(lambda: all(world[name].membership.topology.serving for name in left))

    run(story, nodes=nodes)


def test_what_a_filled_joiner_has_survives_the_owners_that_it_was_to_join() -> None:
    """Its ack counted for a write that the only owner that is left has missed."""

    def stays_joint(topology: Topology, seat: Owner, **known: Any) -> Topology | None:
        return advanced(topology, seat, **{**known, "adopted": {}})

    async def story(world: HealingWorld) -> None:
        key, row = KEYS[0], world.world.row(KEYS[0])
        first, second, third = row.nodes
        joiner, other = sorted({f"n{number}" for number in range(1, 6)} - {*row.nodes})

        def plan(topology: Topology, _: bool) -> Topology:
            wanted = [
                tuple(NodeId(joiner) if each is row and node == first else node for node in each.nodes)
                for each in topology.rows
            ]
            return with_plan(topology, topology.members, wanted)

        def joint() -> Row:
            return world[joiner].membership.topology.serving_topology().row(world.world.partition(key))

        row = world[joiner].membership.topology.serving_topology().row(world.world.partition(key))
        await world.inside(joiner, world[joiner].membership.epochs.change(plan, 10))
        await until(lambda: joint().phase == JOINT_2)
        await world.down(third)
        await world.put(second, key, b"acknowledged")
        kill(world, first, second, other)
        world.world.nodes[third].start()
        await world.world.nodes[third].up()
        await go_on(world, joiner, first, second, other)
        assert {joiner, third} <= {*joint().nodes}
        await until(lambda: all(world[name].membership.topology.serving for name in (joiner, third)))
        assert await world.get(joiner, key, "2") == [b"acknowledged"]
        assert await world.get(third, key, "1") == [b"acknowledged"], "the read has repaired it"

    with patched(function(mover, advanced, stays_joint)):
        run(story, nodes=5)


def test_members_that_are_left_go_over_and_gone_partitions_begin_empty() -> None:
    """Of five, all of them voters, three are lost; some keys had no other owner."""

    async def story(world: HealingWorld) -> None:
        await fill(world)
        before = world["n4"].membership.topology.serving_topology()
        lost = ("n1", "n2", "n3")
        with pytest.raises(InvalidArgument, match="n2, n3 answers"):
            kill(world, "n1")
            await go_on(world, "n4", *lost)
        kill(world, "n2", "n3", "n5")
        with pytest.raises(InvalidArgument, match="n5 does not answer and was not named"):
            await go_on(world, "n4", *lost)
        with pytest.raises(InvalidArgument, match="the others can still decide"):
            await go_on(world, "n4", "n1", "n2")
        world.world.nodes["n5"].start()
        await world.world.nodes["n5"].up()
        made, _ = await go_on(world, "n4", *lost)
        await until(lambda: world["n5"].membership.topology.current == made)
        assert await go_on(world, "n5", *lost) == (made, False)
        for name in lost:
            await replace(world, "n4", name, await lose(world, name))
        assert made.formers == (before.cluster,)
        for name in lost:
            await until(lambda name=name: len(world[name].repair.healing.loss.short) > 0)
        for _ in range(20):
            for name in lost:
                healing = world[name].repair.healing
                if missing := set().union(*healing.loss.short.values()):
                    healing.accept_loss(missing)
            await asyncio.sleep(10)
        await until(lambda: all(is_filled(world, name) for name in lost))
        for number, key in enumerate(KEYS):
            owners = set(world.world.row(key).nodes)
            found = await world.get("n1", key)
            assert found == ([] if owners <= set(lost) else [b"v%d" % number])
            await world.put("n2", key, b"again")

    run(story, nodes=5)
