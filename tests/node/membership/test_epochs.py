"""Epochs after the first: a majority of the voters decides, one document each, whatever stops (rule T2)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.epoch_vote import EpochVote, encode_vote
from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    QuorumNotReached,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ports import Clock, Priority
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created, dropped
from ringmill.cluster.ring.succession import check_follows
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPT, EPOCH_PREPARE, EpochAnswer, EpochRequest
from ringmill.node.membership.epoch_proposer import TopologyChanged
from ringmill.node.membership.epoch_voter import EpochVoter
from ringmill.simulator.patching import Patch, method, patched
from tests.node.small_world import World


def making(name: str) -> Any:
    return lambda topology, _: created(topology, NewKeyspace(name))


async def change(world: World, node: str, name: str, within_s: float = 5.0) -> TopologyChanged:
    return await world.on(node, world.nodes[node].membership.epochs.change(making(name), within_s))


def known(world: World, node: str) -> Topology:
    return world.nodes[node].membership.topology.serving_topology()


def names(topology: Topology) -> set[str]:
    return {keyspace.name for keyspace in topology.keyspaces}


async def send(world: World, method: str, to: str, request: EpochRequest) -> EpochAnswer:
    call = world.nodes["n3"].core.transport.call(
        NodeId(to), method, request.encode(), timeout_s=3, priority=Priority.CONTROL
    )
    return EpochAnswer.decode(await world.on("n3", call))


def test_a_change_is_held_by_all_members_that_answer() -> None:
    world = World()

    async def story() -> None:
        changed = await change(world, "n1", "carts")
        assert changed.was_made and changed.topology.epoch == 2
        for node in world.names:
            assert known(world, node) == changed.topology
        again = await change(world, "n2", "carts")
        assert not again.was_made and again.topology.epoch == 2

    world.run(story())


class SleepingClock:
    """Its monotonic clock stands still while the machine sleeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.slept_s = 0.0

    def wall(self) -> float:
        return self._clock.wall() + self.slept_s

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def boottime(self) -> float:
        return self._clock.boottime() + self.slept_s


def test_a_change_is_not_made_after_its_node_has_slept_past_the_deadline() -> None:
    """It may name a member by a name that somebody else has by then."""
    world = World()

    async def story() -> None:
        epochs = world.nodes["n1"].membership.epochs
        clock = epochs._clock = SleepingClock(epochs._clock)

        def made_asleep(topology: Topology, may_be_made: bool) -> Topology | None:
            clock.slept_s = 3600.0
            return created(topology, NewKeyspace("carts"))

        with pytest.raises(DeadlineExceeded) as caught:
            await world.on("n1", epochs.change(made_asleep, 5.0))
        assert caught.value.outcome == "failed"
        assert "carts" not in names(known(world, "n2"))

    world.run(story())


@pytest.mark.parametrize("seed", range(12))
def test_changes_that_are_made_at_once_are_all_made(seed: int) -> None:
    """Each epoch has one document, derived from the one before."""
    world = World(nodes=5, seed=seed)
    wanted = [(f"n{number % 5 + 1}", f"k{number}") for number in range(10)]

    async def story() -> None:
        seen: dict[int, Topology] = {1: world.topology}

        def note(topology: Topology) -> None:
            assert seen.setdefault(topology.epoch, topology) == topology

        for node in world.nodes.values():
            node.membership.topology.on_change(note)
        done = await asyncio.gather(*(change(world, node, name, 30) for node, name in wanted))
        newest = max((each.topology for each in done), key=lambda topology: topology.epoch)
        assert names(newest) >= {name for _, name in wanted}
        assert newest.epoch == 1 + len(wanted)
        for epoch in range(2, newest.epoch + 1):
            check_follows(seen[epoch - 1], seen[epoch])

    world.run(story())


def slow_votes(seconds: float) -> Patch:
    """Each vote takes a while, as on disks that take long to sync."""
    keep = EpochVoter._keep

    async def keep_slowly(voter: EpochVoter, vote: EpochVote) -> None:
        await asyncio.sleep(seconds)
        await keep(voter, vote)

    return method(EpochVoter._keep, keep_slowly)


def test_a_question_that_waits_past_its_deadline_takes_no_vote() -> None:
    """Else those who ask anew wait behind their own former questions, and no epoch is decided any more."""
    world, kept = World(), []
    keep = EpochVoter._keep

    async def keep_slowly(voter: EpochVoter, vote: EpochVote) -> None:
        kept.append(vote.state.promised.counter)
        await asyncio.sleep(4.0)  # longer than `send` waits
        await keep(voter, vote)

    async def ask(counter: int) -> None:
        ballot = Ballot(counter, NodeId("n3"), 1, "")
        request = EpochRequest(world.topology.cluster, Epoch(2), ballot, b"")
        with pytest.raises(DeadlineExceeded):
            await send(world, EPOCH_PREPARE, "n1", request)

    async def story() -> None:
        await asyncio.gather(*(ask(counter) for counter in range(1, 6)))
        await asyncio.sleep(30.0)
        assert kept == [1]

    with patched(method(EpochVoter._keep, keep_slowly)):
        world.run(story())


def test_changes_at_once_are_made_on_slow_disks_too() -> None:
    """Pauses shorter than a round would have each proposer preempt the others, again and again."""

    def took_s(seed: int) -> float:
        world = World(nodes=5, seed=seed)

        async def story() -> None:
            changes = [change(world, f"n{number}", f"k{number}", 60) for number in range(1, 6)]
            assert all(each.was_made for each in await asyncio.gather(*changes))

        with patched(slow_votes(0.8)):
            world.run(story())
        return world.loop.time()

    assert sum(map(took_s, range(4))) / 4 < 22.0  # and a round of both phases takes 1.6 s alone


def test_a_change_has_its_turn_beside_nodes_that_always_want_another() -> None:
    """As joiners do: n1, whose ballots lose to all others of the same counter, waits for few of theirs."""
    world = World(nodes=5)

    async def want(node: str) -> None:
        for number in range(100):
            await change(world, node, f"{node}-{number}", 60)

    async def story() -> None:
        others = [asyncio.ensure_future(want(node)) for node in world.names[1:]]
        await asyncio.sleep(0.5)
        before = known(world, "n1").epoch
        mine = await change(world, "n1", "mine", 10)
        assert mine.topology.epoch - before <= 8
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    world.run(story())


def test_one_voter_away_stops_nothing_and_it_catches_up() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        assert (await change(world, "n1", "carts")).was_made
        await world.start("n3")
        assert "carts" in names(known(world, "n3"))

    world.run(story())


def test_without_a_majority_the_missing_voters_are_named() -> None:
    world = World()

    async def story() -> None:
        world.kill("n2")
        world.kill("n3")
        with pytest.raises(QuorumNotReached, match="2 of the 3 voters") as refused:
            await change(world, "n1", "carts", 2.0)
        assert set(refused.value.failed) == {"n2", "n3"}
        assert refused.value.outcome == "failed"
        assert known(world, "n1").epoch == 1

    world.run(story())


async def promised_over_a_power_cut(world: World) -> EpochAnswer:
    """What n1 answers to a lower ballot than it promised before the cut."""
    cluster = world.topology.cluster
    high, low = Ballot(9, NodeId("n3"), 1, "aa"), Ballot(4, NodeId("n3"), 1, "aa")
    first, second = (EpochRequest(cluster, Epoch(2), ballot) for ballot in (high, low))
    assert (await send(world, EPOCH_PREPARE, "n1", first)).refused_counter == 0
    world.kill("n1")
    await world.start("n1")
    return await send(world, EPOCH_PREPARE, "n1", second)


def test_a_voter_keeps_its_promise_over_a_power_cut() -> None:
    world = World()

    async def story() -> None:
        assert (await promised_over_a_power_cut(world)).refused_counter == 9
        document = created(world.topology, NewKeyspace("late"))
        assert document is not None
        low = Ballot(4, NodeId("n3"), 1, "aa")
        late = EpochRequest(world.topology.cluster, Epoch(2), low, document.encode())
        assert (await send(world, EPOCH_ACCEPT, "n1", late)).refused_counter == 9

    world.run(story())


def test_without_the_sync_before_the_answer_the_promise_is_forgotten() -> None:
    async def in_memory(voter: EpochVoter, vote: EpochVote) -> None:
        voter._store._values["epoch-vote"] = encode_vote(vote)  # type: ignore[attr-defined]

    world = World()

    async def story() -> None:
        assert (await promised_over_a_power_cut(world)).refused_counter == 0

    with patched(method(EpochVoter._keep, in_memory)):
        world.run(story())


def test_what_a_majority_may_have_accepted_is_finished_first() -> None:
    """A proposer that vanished after its accept: the next one goes on from that document."""
    world = World()

    async def story() -> None:
        lost = created(world.topology, NewKeyspace("lost"))
        assert lost is not None
        ballot = Ballot(3, NodeId("n3"), 1, "aa")
        request = EpochRequest(world.topology.cluster, Epoch(2), ballot)
        await send(world, EPOCH_PREPARE, "n1", request)
        await send(world, EPOCH_ACCEPT, "n1", request._replace(document=lost.encode()))
        world.kill("n3")
        changed = await change(world, "n2", "found")
        assert changed.topology.epoch == 3
        assert names(changed.topology) >= {"lost", "found"}

    world.run(story())


def test_a_voter_that_knows_more_answers_with_its_newest_document() -> None:
    world = World()

    async def story() -> None:
        changed = await change(world, "n1", "carts")
        old = EpochRequest(world.topology.cluster, Epoch(2), Ballot(99, NodeId("n3"), 1, "aa"))
        answer = await send(world, EPOCH_PREPARE, "n2", old)
        assert Topology.decode(answer.newest) == changed.topology

    world.run(story())


def test_whoever_was_behind_at_a_vote_catches_up_first() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        world.cut("n2", "n3")
        await change(world, "n1", "carts")
        assert known(world, "n3").epoch == 1
        for other in ("n1", "n2"):
            world.cut(other, "n3", is_cut=False)
        world.kill("n2")
        assert (await change(world, "n1", "wishes", 10)).topology.epoch == 3
        assert known(world, "n3").epoch == 3

    world.run(story())


def test_a_node_that_is_not_a_voter_or_does_not_serve_does_not_vote() -> None:
    world = World(nodes=4)  # three of them vote

    async def refused(work: Coroutine[Any, Any, EpochAnswer], told: str) -> None:
        with pytest.raises(Unavailable, match=told):
            await work

    async def story() -> None:
        request = EpochRequest(world.topology.cluster, Epoch(2), Ballot(1, NodeId("n3"), 1, "aa"))
        assert "n4" not in world.topology.voter_nodes
        await refused(send(world, EPOCH_PREPARE, "n4", request), "not a voter")
        world.nodes["n1"].membership.topology.withdraw_start()
        await refused(send(world, EPOCH_PREPARE, "n1", request), "started")

    world.run(story())


def test_a_voter_on_another_disk_than_the_named_one_does_not_vote() -> None:
    """Its node id is the same, and it has forgotten what it promised (I2)."""
    world = World()
    named = world.topology
    voters = tuple(
        Owner(voter.node, DiskId("f" * 32)) if voter.node == "n1" else voter for voter in named.voters
    )
    replaced = replace(named, epoch=Epoch(2), voters=voters)

    async def story() -> None:
        for node in world.nodes.values():
            await world.on(node.name, node.membership.topology.adopt(replaced))
        request = EpochRequest(named.cluster, Epoch(3), Ballot(1, NodeId("n3"), 1, "aa"))
        with pytest.raises(Unavailable, match="not a voter"):
            await send(world, EPOCH_PREPARE, "n1", request)

    world.run(story())


def test_a_wild_message_takes_no_epoch_from_the_others() -> None:
    world = World()

    async def story() -> None:
        cluster = world.topology.cluster
        wild = Ballot(1 << 62, NodeId("wild"), 1, "")
        jump = replace(world.topology, epoch=Epoch(7)).encode()
        near = Ballot(1, NodeId("wild"), 1, "")
        for asked, request in (
            (EPOCH_PREPARE, EpochRequest(cluster, Epoch(2), wild)),
            (EPOCH_ACCEPT, EpochRequest(cluster, Epoch(2), near, b"garbage")),
            (EPOCH_ACCEPT, EpochRequest(cluster, Epoch(2), near, b"")),
            (EPOCH_ACCEPT, EpochRequest(cluster, Epoch(2), near, jump)),
            (EPOCH_PREPARE, EpochRequest(cluster, Epoch(1 << 40), near)),
        ):
            with pytest.raises(RingmillError):
                await send(world, asked, "n1", request)
        assert (await change(world, "n2", "carts")).was_made

    world.run(story())


def test_a_lost_answer_leaves_the_change_unknown_and_it_can_be_sent_again() -> None:
    world = World()

    async def story() -> None:
        working = asyncio.ensure_future(change(world, "n1", "carts", 3.0))
        await asyncio.sleep(0.004)
        world.cut("n1", "n2")
        world.cut("n1", "n3")
        try:
            await working
        except RingmillError as error:
            assert error.outcome in ("failed", "unknown")
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        again = await change(world, "n2", "carts")
        assert "carts" in names(again.topology)

    world.run(story())


def test_a_keyspace_that_is_gone_cannot_be_dropped_again_unless_it_may_have_been_this_drop() -> None:
    topology = World().topology
    with pytest.raises(InvalidArgument, match="no keyspace"):
        dropped(topology, "carts", may_be_done=False)
    assert dropped(topology, "carts", may_be_done=True) is None


def test_voters_that_answered_are_not_among_those_that_did_not() -> None:
    """Its time is over while it still waits for the silent ones."""
    world = World(nodes=5)

    async def story() -> None:
        for silent in ("n3", "n4", "n5"):
            world.cut("n1", silent)
        with pytest.raises(QuorumNotReached, match=r"2 answered \(n1, n2\)") as refused:
            await world.on("n1", world.nodes["n1"].membership.topology.newest(1.0))
        assert refused.value.acked == ["n1", "n2"]
        assert set(refused.value.failed) == {"n3", "n4", "n5"}

    world.run(story())
