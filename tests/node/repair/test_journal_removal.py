"""Registers of forgotten journals are removed by each owner alone, and never come back (rule J29)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

import ringmill.node.repair.register_healing
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.forgotten_journals import (
    FORGOTTEN,
    NONE_FORGOTTEN,
    ForgottenJournals,
    JournalPlace,
)
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.register_codec import encode_register
from ringmill.cluster.errors import Conflict, NotFound, ProtocolMismatch, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming
from ringmill.node.jobs.journal.cells import INDEX, entry_key
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.registers.forgotten_serving import TELL_FORGOTTEN, learn_forgotten
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, READ_REGISTER
from ringmill.node.replica.stored_key import Kind, kind_prefix, prefix_end
from ringmill.simulator.patching import function, method, patched
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_register_healing import ask, healed
from tests.node.repair.test_register_removal import NAMES, cas, gone, held, read

SOON = PurgeOptions(journals_every_s=1.0)
OLD, OPEN, NEW = (entry_key(journal, 0) for journal in ("j.1.1", "j.1.2", "j.2.1"))
TOLD = ForgottenJournals(JournalPlace(2, 1), frozenset([JournalPlace(1, 2)]))
LATE = Ballot(90, NodeId("n9"), 1, "")
ENTRY = encode_register(Register(1, b"late"))


async def forget(world: HealingWorld, told: ForgottenJournals = TOLD) -> None:
    registers = world["n1"].requests.own_registers()
    version, _ = await world.inside("n1", registers.read_cell(FORGOTTEN, 5.0))
    await world.inside("n1", registers.set_cell(FORGOTTEN, told.encode(), version, 5.0))


async def known(world: HealingWorld, names: Sequence[str] = NAMES) -> None:
    async with asyncio.timeout(60):
        while any(world[name].replica.forgotten.known == NONE_FORGOTTEN for name in names):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def test_each_owner_removes_what_it_holds_of_a_forgotten_journal_and_nothing_else() -> None:
    """Deleted or not: of a coordinator that was followed before its job was in the list values are left."""

    async def story(world: HealingWorld) -> None:
        deleted = entry_key("j.1.1", 7)
        for key in (OLD, deleted, OPEN, NEW):
            await cas(world, "n1", key, b"a")
        await cas(world, "n1", deleted, None)
        await asyncio.sleep(5)
        assert all([await held(world, name, OLD) for name in NAMES]), "nobody has said so yet"
        await forget(world)
        await gone(world, OLD)
        await gone(world, deleted)
        assert [await read(world, name, key) for name in NAMES for key in (OPEN, NEW)] == [(1, b"a")] * 6

    run(story, purge=SOON)


def test_an_owner_that_was_away_removes_it_when_it_is_back_and_holds_up_nobody() -> None:
    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", OLD, b"a")
        await world.down("n3")
        await cas(world, "n1", OLD, None)
        await forget(world)
        await gone(world, OLD, ("n1", "n2"))
        await world.up("n3")
        assert await held(world, "n3", OLD)
        await gone(world, OLD)

    run(story, purge=SOON)


def test_what_a_stopped_coordinator_has_sent_comes_too_late_also_after_a_restart() -> None:
    async def story(world: HealingWorld) -> None:
        await ask(world, PREPARE, OLD, "n2", LATE)
        await cas(world, "n1", OLD, b"a")
        await forget(world)
        await gone(world, OLD)
        await world.down("n2")
        await world.up("n2")
        for what, value in ((PREPARE, b""), (ACCEPT, ENTRY), (READ_REGISTER, b"")):
            with pytest.raises(NotFound, match="forgotten"):
                await ask(world, what, OLD, "n2", LATE, value)
        with pytest.raises(NotFound):
            await world.inside("n2", world["n2"].requests.own_registers().set_cell(OLD, b"x", 0, 5.0))
        assert not await held(world, "n2", OLD)

    run(story, purge=SOON)


@pytest.mark.parametrize("is_refused", [True, False])
def test_an_entry_of_a_forgotten_journal_cannot_be_written_anew(is_refused: bool) -> None:
    """Its next place looks as if nobody had ever sealed the journal there."""

    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", OLD, b"seal")
        await cas(world, "n1", OLD, None)
        await forget(world)
        await gone(world, OLD)
        write = world["n2"].requests.own_registers().set_cell(OLD, b"entry", 0, 5.0)
        if is_refused:
            with pytest.raises(NotFound):
                await world.inside("n2", write)
        else:
            assert await world.inside("n2", write) == 1

    def check(store: ForgottenStore, key: bytes) -> None:
        return

    with patched(*([] if is_refused else [method(ForgottenStore.check, check)])):
        run(story, purge=SOON)


@pytest.mark.parametrize("is_told", [True, False])
def test_whoever_is_healed_refuses_what_the_others_have_removed(is_told: bool) -> None:
    """n3 has missed that the journal was sealed.  n1 has removed it and tells n2 nothing of it, who is healed
    and knew it once: what n3 alone holds must not count as the truth between these two."""

    async def story(world: HealingWorld) -> None:
        await ask(world, PREPARE, OLD, "n3", LATE)
        await ask(world, ACCEPT, OLD, "n3", LATE, ENTRY)  # of a coordinator that was stopped then
        above = Ballot(91, NodeId("n9"), 1, "")
        for name in ("n1", "n2"):
            await ask(world, PREPARE, OLD, name, above)
            await ask(world, ACCEPT, OLD, name, above, encode_register(Register(2, None)))
        for name in ("n1", "n2"):
            store = world[name].replica.forgotten
            await world.inside(name, store.learn(TOLD))
            await world.inside(name, world[name].repair.journals.round())
        await gone(world, OLD, ("n1", "n2"))
        world["n2"].replica.forgotten.known = NONE_FORGOTTEN  # as on a disk that is new
        kind = kind_prefix(Kind.REGISTER)
        await world.inside("n2", world["n2"].replica.engine.fence(kind, prefix_end(kind)))
        await healed(world, "n2")
        write = world["n3"].requests.own_registers().set_cell(OLD, b"entry", 0, 2.0)
        with pytest.raises(RingmillError) as caught:
            await world.inside("n3", write)
        found = caught.value.detail.get("current") if isinstance(caught.value, Conflict) else None
        assert found == (None if is_told else b"late")

    async def learn_nothing(*_: object) -> None:
        return

    healing = ringmill.node.repair.register_healing
    with patched(*([] if is_told else [function(healing, learn_forgotten, learn_nothing)])):
        run(story, purge=PurgeOptions(journals_every_s=0.0))


def test_a_register_that_was_lost_is_written_again_by_whoever_knows_more() -> None:
    async def story(world: HealingWorld) -> None:
        await world.inside("n2", world["n2"].replica.forgotten.learn(TOLD))
        await known(world)
        assert [world[name].replica.forgotten.known for name in NAMES] == [TOLD] * 3
        _, value = await read(world, "n3", FORGOTTEN)
        assert value == TOLD.encode()

    run(story, purge=SOON)


def test_other_registers_of_the_cluster_stay() -> None:
    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", INDEX, b"a")
        await forget(world)
        await known(world)
        await asyncio.sleep(3)
        assert await read(world, "n2", INDEX) == (1, b"a")

    run(story, purge=SOON)


def test_a_node_of_the_release_before_tells_nothing_and_holds_nothing_up() -> None:
    async def story(world: HealingWorld) -> None:
        def refuse(incoming: Incoming) -> Awaitable[bytes]:
            raise ProtocolMismatch(f"no method {incoming.method}")

        world["n2"].core.serve({TELL_FORGOTTEN: refuse})
        node = world["n1"]
        learning = learn_forgotten(node.core.transport, NodeId("n2"), node.replica.forgotten)
        await world.inside("n1", learning)
        assert node.replica.forgotten.known == NONE_FORGOTTEN

    run(story)
