"""Further jobs at the end of a run, so that earlier ones are forgotten, and what becomes of their journals.

A coordinator that was stopped in the midst of an early job for as long as that is played by whoever writes
the next entries of its journal.  In runs of jobs alone a member is away meanwhile, and still holds what the
others have removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import reduce
from random import Random
from typing import Final

from ringmill.cluster.consensus.forgotten_journals import JOURNALS, NONE_FORGOTTEN, ForgottenJournals
from ringmill.cluster.consensus.remains import holds_own
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import PartitionId, keyspace_bytes
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.node.assembly import Node
from ringmill.node.jobs.journal.cells import entry_key
from ringmill.node.replica.stored_key import Copy, parse_object_key, prefix_end, registers_prefix
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.subjects.jobs.sessions import JobSession, PlannedJob
from ringmill.simulator.subjects.jobs.tunables import KEPT_JOBS
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.world.node_process import SHARED, NodeProcess
from ringmill.simulator.world.seeds import SeededEntropy
from ringmill.simulator.world.world import World

__all__ = ["FURTHER_CLIENT", "forget_jobs"]

FURTHER_CLIENT: Final = "further-jobs"
_TIMEOUT_S: Final = 5.0
_ENDS_WITHIN_S: Final = 60.0
_REMOVED_WITHIN_S: Final = 12.0
_LOOK_EVERY_S: Final = 0.5
_LATE_SLOTS: Final = 6
_LATE: Final = b"an entry of a coordinator that was stopped"
_LEAST_OWNERS: Final = 3


async def forget_jobs(
    world: World, plan: PlannedJob, bundle: Bundle, draws: Random, *, may_stop: bool
) -> None:
    """Have as many jobs run as there is room for beside those of the run, and look at what they leave."""
    others = [node for node in world.living() if node.serves and node.name not in world.history.core.rest]
    asleep = _one_to_stop(world, others, draws) if may_stop else None
    awake = [node for node in others if node is not asleep]
    if asleep is not None:
        await asleep.stop()
    forgotten: ForgottenJournals | None = None
    with suppress(TimeoutError):  # jobs may wait for something that the run has broken
        async with asyncio.timeout(_ENDS_WITHIN_S):
            await _run_further(world, plan, bundle, awake)
            forgotten = await _wait_learned(awake)
    if asleep is not None:
        asleep.start()
        await asleep.up()
    if forgotten is None:
        return
    await _write_late(world, forgotten, asleep or draws.choice(awake))
    await asyncio.sleep(_REMOVED_WITHIN_S)
    for node in others:
        await _note_left(world, forgotten, node)


async def _run_further(world: World, plan: PlannedJob, bundle: Bundle, nodes: Sequence[NodeProcess]) -> None:
    process, transport = world.client(FURTHER_CLIENT)
    names = {node.name for node in nodes}
    addresses = {at: node for at, node in world.addresses.items() if node in names}
    for number in range(KEPT_JOBS + 1):
        further = _further(plan, f"job-further-{number}")
        entropy = SeededEntropy(world.seed, f"client/{FURTHER_CLIENT}/{number}")
        session = JobSession(transport, addresses, entropy, _TIMEOUT_S, directory=Within)
        record = JobRecord(further.spec.job, further.spec.output)
        await world.loop.spawn(process, session.work_off(further, bundle, record))


def _one_to_stop(world: World, others: Sequence[NodeProcess], draws: Random) -> NodeProcess | None:
    """A sound majority of each partition's owners has to stay."""
    damaged = [node for node in others if node.node and node.node.replica.engine.corrupt_ranges()]
    is_whole = len(others) == len(world.nodes) and not damaged
    is_enough = all(len(row.nodes) >= _LEAST_OWNERS and not row.is_joint for row in world.topology.rows)
    return draws.choice(others) if is_whole and is_enough else None


def _further(plan: PlannedJob, name: str) -> PlannedJob:
    """A job that does the work of `plan` and writes it to another output, which nobody reads."""
    spec = replace(plan.spec, job=name, output=f"{SHARED}/{name}", overwrite=False)
    return replace(plan, spec=spec, pause_s=0.0, kill_after_s=None, pause_after_s=None, is_repeated=False)


async def _wait_learned(nodes: Sequence[NodeProcess]) -> ForgottenJournals:
    """Wait until each node has learned of forgotten journals.  Returns the least that any of them knows."""
    while True:
        known = [each.node.replica.forgotten.known if each.node else NONE_FORGOTTEN for each in nodes]
        if NONE_FORGOTTEN not in known:
            return _least_of(known)
        await asyncio.sleep(_LOOK_EVERY_S)


def _least_of(known: Sequence[ForgottenJournals]) -> ForgottenJournals:
    """What the others know, too.  Where all name one place, it is what keeps the most journals."""
    return reduce(lambda least, each: each if least.is_more_than(each) else least, known)


async def _write_late(world: World, forgotten: ForgottenJournals, process: NodeProcess) -> None:
    """Each place looks, where all is removed, as it did before a next coordinator had sealed the journal."""
    assert process.node is not None
    registers, late = process.node.requests.own_registers(), []
    for job in (record.job for record in world.history.jobs.jobs):
        keys = [entry_key(f"{job}.1.{number}", slot) for number in (1, 2) for slot in range(_LATE_SLOTS)]
        late += [key for key in keys if forgotten.covers(key)]

    async def write(key: bytes) -> None:
        try:
            await registers.set_cell(key, _LATE, 0, _TIMEOUT_S)
        except RingmillError:
            return
        world.history.jobs.revived.append(key.decode())

    for key in late:
        await process.inside(write(key))


async def _note_left(world: World, forgotten: ForgottenJournals, process: NodeProcess) -> None:
    """What a sound node holds of journals that are forgotten."""
    node = process.node
    if node is None or node.replica.engine.corrupt_ranges():
        return
    try:
        left = await process.inside(_held(node, forgotten))
    except (RingmillError, OSError):
        return
    world.history.jobs.left += [f"{process.name}: {key.decode()}" for key in left]


async def _held(node: Node, forgotten: ForgottenJournals) -> list[bytes]:
    document, found = node.membership.topology.serving_topology(), list[bytes]()
    (space,) = [each.id for each in document.keyspaces if holds_own(each)]
    for number, row in enumerate(document.rows):
        if node.core.node not in row.nodes:
            continue
        copy = Copy(PartitionId(number), row.copy_epoch_of(node.core.node))
        prefix = registers_prefix(copy) + keyspace_bytes(space) + JOURNALS
        async with aclosing(node.replica.engine.scan(prefix, prefix_end(prefix))) as scan:
            found += [name async for key, _ in scan if forgotten.covers(name := parse_object_key(key).key)]
    return found
