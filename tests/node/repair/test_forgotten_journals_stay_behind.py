"""A partition moves without the registers of forgotten journals; its new owner refuses them (rule J29)."""

from __future__ import annotations

from contextlib import suppress

import pytest

import ringmill.node.moves.filling
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.forgotten_journals import ForgottenJournals, JournalPlace
from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.register_codec import encode_register
from ringmill.cluster.errors import Conflict, RingmillError
from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.node.jobs.journal.cells import entry_key
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.registers.forgotten_serving import learn_forgotten
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE
from ringmill.simulator.patching import function, patched
from tests.node.moves.test_new_copies import change, turned, until
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_register_healing import ask

OLD = entry_key("j.1.1", 0)
TOLD = ForgottenJournals(JournalPlace(2, 1))


@pytest.mark.parametrize("is_told", [True, False])
def test_whoever_joins_refuses_what_the_others_have_removed(is_told: bool) -> None:
    """The owner that leaves and one that stays have removed a journal.  The third has missed that it was
    sealed: what it holds must not count as the truth between it and the owner that joins."""

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        *sound, stale = topology.row(topology.partition_of(KeyspaceId(1, 1), OLD)).whole
        for nodes, counter, register in (
            ([stale], 90, Register(1, b"late")),
            (sound, 91, Register(2, None)),
        ):
            ballot = Ballot(counter, NodeId("n9"), 1, "")
            for name in nodes:
                await ask(world, PREPARE, OLD, name, ballot)
                await ask(world, ACCEPT, OLD, name, ballot, encode_register(register))
        for name in sound:
            await world.inside(name, world[name].replica.forgotten.learn(TOLD))
            await world.inside(name, world[name].repair.journals.round())
        await change(world, turned)
        with suppress(TimeoutError):
            await until(lambda: not world.world.topology.is_moving, 20.0)
        assert is_told <= (not world.world.topology.is_moving)
        found: object = b"it moves on and on"
        if not world.world.topology.is_moving:
            write = world[stale].requests.own_registers().set_cell(OLD, b"entry", 0, 2.0)
            with pytest.raises(RingmillError) as caught:
                await world.inside(stale, write)
            found = caught.value.detail["current"] if isinstance(caught.value, Conflict) else None
        assert (found is None) == is_told

    async def learn_nothing(*_: object) -> None:
        return

    with patched(
        *([] if is_told else [function(ringmill.node.moves.filling, learn_forgotten, learn_nothing)])
    ):
        run(story, nodes=4, purge=PurgeOptions(journals_every_s=0.0))
