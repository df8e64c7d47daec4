"""Disks that fail, fill up, slow down, rot, lie or are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.start_files import END_CHANCE
from ringmill.simulator.faults.fault import LONGEST_S, Fault, FaultKind, at_one, drawn, early
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.node_process import NodeProcess

__all__ = ["KINDS"]

_ERROR_CHANCE: Final = 0.3
_NEWER_S: Final = 0.5
_PASSES_CHANCE: Final = 0.3
_AT_ONCE: Final = 1e12  # bytes a second


async def _fail(fault: Fault, ground: Ground) -> None:
    ground.nodes[fault.nodes[0]].disk.error_chance = _ERROR_CHANCE


async def _fail_no_more(fault: Fault, ground: Ground) -> None:
    ground.nodes[fault.nodes[0]].disk.error_chance = 0.0
    ground.replace_faulty(fault.nodes[0])


async def _fill_up(fault: Fault, ground: Ground) -> None:
    ground.nodes[fault.nodes[0]].disk.fill_up()


async def _make_room(fault: Fault, ground: Ground) -> None:
    ground.nodes[fault.nodes[0]].disk.make_room()
    ground.replace_faulty(fault.nodes[0])


async def _slow_down(fault: Fault, ground: Ground) -> None:
    ground.nodes[fault.nodes[0]].disk.slower_s += fault.amount


async def _speed_up(fault: Fault, ground: Ground) -> None:
    disk = ground.nodes[fault.nodes[0]].disk
    disk.slower_s = max(0.0, disk.slower_s - fault.amount)


async def _lose(fault: Fault, ground: Ground) -> None:
    """The node comes back under its name with an empty disk, and somebody forms the cluster again."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    ground.trace.fault(fault.kind, name)
    node.kill(CrashModel.PREFIX)
    node.disk.replace()
    await asyncio.sleep(fault.lasts_s * ground.draws.random())
    if node.current is None:
        node.start()
        await ground.form_again(node)


async def _lie(fault: Fault, ground: Ground) -> None:
    """Power goes, and some of what the disk had called synced with it.

    No protocol can hold with such a node, so it is kept apart from then on: it may refuse to start, but it
    must not invent anything.
    """
    ground.kill(fault.nodes, CrashModel.LYING, fault.kind)
    ground.apart += fault.nodes
    ground.keep_apart()
    ground.start(fault.nodes)


async def _flip_bits(fault: Fault, ground: Ground) -> None:
    """Bits rot in tables that were synced long ago; now and then a crash empties the caches above."""
    name = fault.nodes[0]
    for _ in range(ground.nodes[name].disk.rot()):
        ground.trace.fault(fault.kind, name)
    if ground.draws.random() < 0.5:
        ground.kill([name], ground.crash_model(), "crash")
        await asyncio.sleep(fault.lasts_s)
        ground.start([name])


async def _flip_bits_and_check(fault: Fault, ground: Ground) -> None:
    """Bits rot in tables, and the check that goes round all the time finds it while clients still write.

    Some keys of a damaged range have newer versions by then, so that they are written while it is healed.
    The disk gets slow, as one does that goes bad: healing takes a while.
    """
    node = ground.nodes[fault.nodes[0]]
    if node.is_running and node.node is not None:
        checking = node.inside(_flip_and_check(node, node.node.replica.engine, fault, ground))
        await asyncio.wait([checking], timeout=LONGEST_S)  # without a limit if the node is killed meanwhile
        await _slow_down(fault, ground)
        await asyncio.sleep(LONGEST_S)
        await _speed_up(fault, ground)


async def _flip_and_check(node: NodeProcess, engine: Engine, fault: Fault, ground: Ground) -> None:
    """A node that stops, or whose disk fails, checks nothing more."""
    with suppress(RingmillError, OSError):
        await engine.flush()
        await asyncio.sleep(_NEWER_S * ground.draws.random())
        for _ in range(node.disk.rot(end_chance=END_CHANCE)):
            ground.trace.fault(fault.kind, node.name)
        await engine.verify(bytes_per_s=_AT_ONCE)


async def _rot(fault: Fault, ground: Ground) -> None:
    """The node stops in order, bits turn in every file of its folder, and it starts again."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if node.node is None or node.node.membership.topology.current is None:
        return  # what belongs to no cluster has nobody to heal from
    node.resume()
    await node.stop()
    if node.current is None:
        for _ in range(node.disk.rot_everywhere()):
            ground.trace.fault(fault.kind, name)
    ground.start([name])


async def _spoil(fault: Fault, ground: Ground) -> None:
    """The disk cannot read some sectors any more, or not for a while.

    Reads and merges meet them in tables while clients write, or a crash has the next start meet them in any
    file, those that say whose the folder is among them.
    """
    name = fault.nodes[0]
    node = ground.nodes[name]
    is_crash = ground.draws.random() < 0.5
    if is_crash:
        ground.kill([name], ground.crash_model(), "crash")
    for _ in range(node.disk.spoil(tables_only=not is_crash)):
        ground.trace.fault(fault.kind, name)
    if is_crash:
        ground.start([name])
    if ground.draws.random() < _PASSES_CHANCE:
        await asyncio.sleep(fault.lasts_s)
        node.disk.lossy.mend()


def _early_and_slow(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    return replace(early(draws, name, nodes, horizon_s), amount=draws.choice((0.2, 0.8)))


KINDS: Final = (
    FaultKind("disk_error", _fail, _fail_no_more, drawn(at_one), lasting=True, spoils=True),
    FaultKind("disk_full", _fill_up, _make_room, drawn(at_one), lasting=True),
    FaultKind("disk_slow", _slow_down, _speed_up, drawn(at_one, (0.005, 0.05, 0.5)), lasting=True),
    FaultKind("disk_lost", _lose, draw=drawn(at_one), loses=True),
    FaultKind("bit_flip", _flip_bits, draw=drawn(at_one), spoils=True),
    FaultKind("disk_lies", _lie, chance=0.08, loses=True),
    FaultKind("bit_rot", _rot, chance=0.1, spoils=True),
    FaultKind("bit_flip_found", _flip_bits_and_check, draw=_early_and_slow, chance=0.35, spoils=True),
    FaultKind("bad_sector", _spoil, chance=0.1, spoils=True),
)
