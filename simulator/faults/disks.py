"""Disks that fail, fill up, slow down, rot, lie or are lost."""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.faults.fault import Fault, FaultKind, at_one, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS"]

_ERROR_CHANCE: Final = 0.3


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
    if node.run is None:
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


async def _rot(fault: Fault, ground: Ground) -> None:
    """The node stops in order, bits turn in every file of its folder, and it starts again."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not node.is_running:
        return
    node.resume()
    await node.stop()
    if node.run is None:
        for _ in range(node.disk.rot_everywhere()):
            ground.trace.fault(fault.kind, name)
    ground.start([name])


KINDS: Final = (
    FaultKind("disk_error", _fail, _fail_no_more, drawn(at_one), lasting=True, spoils=True),
    FaultKind("disk_full", _fill_up, _make_room, drawn(at_one), lasting=True),
    FaultKind("disk_slow", _slow_down, _speed_up, drawn(at_one, (0.005, 0.05, 0.5)), lasting=True),
    FaultKind("disk_lost", _lose, draw=drawn(at_one), loses=True),
    FaultKind("bit_flip", _flip_bits, draw=drawn(at_one), spoils=True),
    FaultKind("disk_lies", _lie, chance=0.08, loses=True),
    FaultKind("bit_rot", _rot, chance=0.1, spoils=True),
)
