"""A read of a register that tells how it went: what is told is what happened, and what a plain read does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.consensus.register import EMPTY_REGISTER, Incr
from ringmill.cluster.consensus.register_codec import encode_register
from ringmill.cluster.consensus.remains import Remains
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet, ExplainedOwner
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, RegisterAnswer
from ringmill.node.replica.registers.register_serving import RegisterServing
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.registers.rounds import _TracedWatch
from ringmill.node.requests.request_values import ReadRequest
from ringmill.simulator.patching import method, patched
from tests.node.moves.test_new_copies import NAMES, change, turned, until
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.requests.registers.test_refused_changes import KEY, Proposer
from tests.node.small_world import World

REQUEST = ReadRequest("registers", KEY, ReadOptions("", 20.0))


async def explain(world: World, at: str, level: str = "", timeout_s: float = 5.0) -> ExplainedGet:
    request = ReadRequest("registers", KEY, ReadOptions(level, timeout_s))
    return await world.on(at, world.nodes[at].requests.explain(request))


async def incr(world: World, at: str, sequence: int) -> None:
    where, operation = RegisterRead("", KEY, 5.0), OperationId(1, sequence, HybridTime(0))
    await world.on(at, world.nodes[at].requests.change_register(ChangeRequest(where, Incr(1), operation)))


def owner(told: ExplainedGet, name: str) -> ExplainedOwner:
    (found,) = (each for each in told.owners if each.node == name)
    return found


def questions(told: ExplainedGet) -> list[str]:
    return [each.question for each in told.register.questions]


def test_one_that_a_majority_has_accepted_is_settled_by_their_answers() -> None:
    world = World(4)

    async def story() -> None:
        for sequence in range(1, 4):
            await incr(world, "n1", sequence)
        await asyncio.sleep(1)
        told = await explain(world, "n4")
        assert (told.coordinator, told.keyspace, told.r, told.values) == ("n4", "registers", 2, 1)
        assert (told.register.settled, told.register.version, told.error) == ("quorum", 3, "")
        assert questions(told) == ["read"]
        assert "a majority has accepted 3.n1#1" in told.register.questions[0].decision
        assert all(each.asked for each in told.owners) and len(told.owners) == 3
        answered = [each for each in told.owners if each.answered]
        assert len(answered) >= 2
        for each in answered:
            assert (each.same, each.version, each.accepted) == (True, 3, "3.n1#1"), each
            assert each.promised == each.accepted and each.bytes and not each.written_back

    world.run(story())


def test_one_that_was_never_written() -> None:
    world = World()

    async def story() -> None:
        told = await explain(world, "n1")
        assert (told.values, told.register.settled, told.register.version) == (0, "quorum", 0)
        assert "nobody who answered has accepted anything" in told.register.questions[0].decision

    world.run(story())


def test_owners_that_are_down_and_a_read_that_fails() -> None:
    world = World()

    async def story() -> None:
        await incr(world, "n1", 1)
        await asyncio.sleep(1)
        await world.stop("n3")
        told = await explain(world, "n1")
        assert told.register.settled == "quorum" and not told.error
        world.seen("n3", "down")
        assert owner(told, "n3").asked and not owner(told, "n3").answered
        await world.stop("n2")
        world.seen("n2", "down")
        failed = await explain(world, "n1")
        assert "a read of a register" in failed.error and failed.register.settled == ""
        assert (owner(failed, "n1").answered, owner(failed, "n2").answered) == (True, False)
        assert owner(failed, "n2").state == "down"
        assert owner(failed, "n2").error and owner(failed, "n3").error
        last = failed.register.questions[-1]
        assert "of 3 promised, and 2 have to: it fails" in last.decision
        assert {"n2", "n3"} <= {each.node for each in last.others}

    world.run(story())


def test_an_owner_that_is_silent() -> None:
    world = World()

    async def story() -> None:
        await incr(world, "n1", 1)
        await asyncio.sleep(1)
        for other in ("n2", "n3"):
            world.cut("n1", other)
        failed = await explain(world, "n1", timeout_s=0.5)
        assert failed.error and owner(failed, "n2").silent and not owner(failed, "n2").answered
        assert not owner(failed, "n1").silent

    world.run(story())


def test_what_one_owner_alone_has_accepted_is_written_back() -> None:
    """n2 and n3 lack the value; the next read finds it at a majority."""
    world = World()

    async def story() -> None:
        await incr(world, "n1", 1)
        await asyncio.sleep(1)
        other = Proposer(world)
        for name in ("n1", "n2"):
            assert not (await other.tell(PREPARE, name, 100)).refused_counter
        newer = encode_register(EMPTY_REGISTER._replace(version=2, value=b"9"))
        assert not (await other.tell(ACCEPT, "n1", 100, newer)).refused_counter
        world.cut("n1", "n3")
        told = await explain(world, "n1")
        assert (told.register.settled, told.register.version) == ("written", 2)
        read, prepare, accept = told.register.questions
        assert (read.question, prepare.question, accept.question) == ("read", "prepare", "accept")
        assert "no majority tells of 100." in read.decision
        assert "written back" in prepare.decision and prepare.ballot == accept.ballot == "101.n1#1"
        assert "it stands" in accept.decision and sorted(accept.agreed) == ["n1", "n2"]
        assert owner(told, "n1").same and owner(told, "n1").version == 2
        assert not owner(told, "n2").same and owner(told, "n2").version == 1
        assert owner(told, "n2").promised.startswith("100.") and owner(told, "n2").accepted == "1.n1#1"
        assert owner(told, "n2").written_back
        assert not owner(told, "n3").written_back and owner(told, "n3").write_back_error
        again = await explain(world, "n2")
        assert (again.register.settled, again.register.version) == ("quorum", 2)

    world.run(story())


def test_an_owner_with_a_higher_promise() -> None:
    """It does not hinder a read that the others settle, and it is told."""
    world = World()

    async def story() -> None:
        await incr(world, "n1", 1)
        await asyncio.sleep(1)
        other = Proposer(world)
        for name in ("n2", "n3"):
            assert not (await other.tell(PREPARE, name, 100)).refused_counter
        world.cut("n1", "n3")
        told = await explain(world, "n1")
        assert (told.register.settled, questions(told)) == ("quorum", ["read"])
        assert owner(told, "n1").promised == "1.n1#1" and owner(told, "n2").promised.startswith("100.")
        assert owner(told, "n1").accepted == owner(told, "n2").accepted == "1.n1#1"

    world.run(story())


def test_a_round_that_is_refused_begins_again_above() -> None:
    world = World()

    async def story() -> None:
        await incr(world, "n1", 1)
        await asyncio.sleep(1)
        other = Proposer(world)
        assert not (await other.tell(PREPARE, "n1", 100)).refused_counter
        newer = encode_register(EMPTY_REGISTER._replace(version=2, value=b"9"))
        assert not (await other.tell(ACCEPT, "n1", 100, newer)).refused_counter
        assert not (await other.tell(PREPARE, "n2", 200)).refused_counter
        world.cut("n1", "n3")
        told = await explain(world, "n1")
        assert questions(told) == ["read", "prepare", "prepare", "accept"]
        refused = told.register.questions[1]
        assert "counts to 200: again above it" in refused.decision
        assert {each.node: each.reason for each in refused.others}["n2"] == "it has promised a higher ballot"
        assert told.register.questions[2].ballot == "201.n1#1"
        assert (told.register.settled, told.register.version) == ("written", 2)

    world.run(story())


def test_a_level_is_refused() -> None:
    world = World()

    async def story() -> None:
        with pytest.raises(InvalidArgument, match="from a majority"):
            await explain(world, "n1", "all")

    world.run(story())


def test_an_owner_of_an_earlier_release_tells_no_promise() -> None:
    world = World()
    read = RegisterServing.read

    async def as_before(serving: RegisterServing, incoming: Incoming) -> bytes:
        return RegisterAnswer.decode(await read(serving, incoming))._replace(promised=None).encode()

    async def story() -> None:
        await incr(world, "n1", 1)
        told = await explain(world, "n1")
        assert told.register.settled == "quorum"
        assert {each.promised for each in told.owners} == {""}

    with patched(method(RegisterServing.read, as_before)):
        world.run(story())


def test_a_plain_read_notes_nothing_and_asks_for_nothing_more() -> None:
    world = World()
    read, answers = RegisterServing.read, []

    async def noted(serving: RegisterServing, incoming: Incoming) -> bytes:
        answers.append(RegisterAnswer.decode(await read(serving, incoming)).promised)
        return await read(serving, incoming)

    def never(*_: Any) -> None:
        raise AssertionError("a plain read is traced")

    async def story() -> None:
        await incr(world, "n1", 1)
        found = await world.on("n1", world.nodes["n1"].requests.read_register(RegisterRead("", KEY, 5.0)))
        assert found.value == b"1" and answers and set(answers) == {None}

    with patched(
        method(RegisterServing.read, noted),
        method(_TracedWatch.record_answer, never),
        method(_TracedWatch.end, never),
    ):
        world.run(story())


def test_a_version_of_removed_registers_is_written_down_first() -> None:
    async def story(world: HealingWorld) -> None:
        partition = world.world.topology.partition_of(KeyspaceId(1, 1), KEY)
        for name in ("n1", "n2", "n3"):
            await world.inside(name, world[name].replica.remains.add(partition, Remains(20)))
        told = await world.inside("n1", world["n1"].requests.explain(REQUEST))
        assert (told.register.settled, told.register.version, told.values) == ("written", 20, 0)
        for each in told.register.questions[:2]:
            assert "a version that removed registers have left" in each.decision
        again = await world.inside("n1", world["n1"].requests.explain(REQUEST))
        assert (again.register.settled, again.register.version) == ("quorum", 20)

    run(story)


def test_it_goes_on_with_the_owners_that_have_changed() -> None:
    async def story(world: HealingWorld) -> None:
        known = [world[name].membership.topology for name in NAMES]
        partition = known[0].serving_topology().partition_of(KeyspaceId(1, 1), KEY)
        former = known[0].serving_topology().row(partition)
        rounds = world["n1"].requests._registers._rounds
        ask = rounds.ask

        async def moved_first(*given: Any, **named: Any) -> RoundTally:
            rounds.ask = ask  # type: ignore[method-assign]
            await change(world, turned)
            await until(
                lambda: all(
                    each.serving_topology().row(partition).row_epoch > former.row_epoch for each in known
                )
            )
            return await ask(*given, **named)

        rounds.ask = moved_first  # type: ignore[method-assign]
        told = await world.inside("n1", world["n1"].requests.explain(REQUEST))
        assert not told.error and told.register.settled
        assert questions(told)[:3] == ["read", "prepare", "prepare"]
        assert "the owners have changed: on with those of epoch" in told.register.questions[1].decision
        assert {each.node for each in told.owners} >= {*former.nodes}
        assert len(told.owners) == 4 and sum(each.answered for each in told.owners) >= 2

    run(story, nodes=4)
