"""Nodes that crash, stop and stand still."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind, at_all, at_some, drawn
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.spawner import LONGEST_CHILD_S

__all__ = ["KINDS", "crash", "start_again"]

_LOOK_EVERY_S: Final = 0.005
_LATE_S: Final = 0.5
_CHILDREN: Final = 10  # flushes come more often than compactions: one of ten is a compaction


async def crash(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        ground.kill([name], ground.crash_model(), fault.kind)


async def start_again(fault: Fault, ground: Ground) -> None:
    ground.start(fault.nodes)


async def _crash_child(fault: Fault, ground: Ground) -> None:
    """Crash the node in the midst of a flush or a merge, as soon as there is one."""
    if await _wait_for_child(fault, ground):
        await crash(fault, ground)
        await asyncio.sleep(fault.lasts_s)
        ground.start(fault.nodes)


async def _kill_child(fault: Fault, ground: Ground) -> None:
    """Kill every other flush or merge for a while; the node lives."""
    for _ in range(_CHILDREN):
        if await _wait_for_child(fault, ground):
            if ground.draws.random() < 0.5:
                ground.trace.fault(fault.kind, fault.nodes[0])
                ground.nodes[fault.nodes[0]].kill_children()
            await asyncio.sleep(LONGEST_CHILD_S)


async def _wait_for_child(fault: Fault, ground: Ground) -> bool:
    """Wait until the node has a child process at work.  Returns whether it has one in time."""
    node = ground.nodes[fault.nodes[0]]
    for _ in range(int(fault.lasts_s / _LOOK_EVERY_S)):
        if node.has_child_at_work:
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


async def _crash_all(fault: Fault, ground: Ground) -> None:
    """With the nodes the shared disk loses power: all of it is one machine."""
    model = ground.crash_model()
    ground.kill(fault.nodes, model, fault.kind)
    if model is not None:
        ground.shared.cut_power(model, ground.draws)


async def _start_one_by_one(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        await asyncio.sleep(fault.lasts_s * ground.draws.random())
        ground.start([name])


async def _restart(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        node = ground.nodes[name]
        if node.is_running:
            ground.trace.fault(fault.kind, name)
            node.resume()
            await node.stop()
            await asyncio.sleep(fault.lasts_s * ground.draws.random())
            ground.start([name])


async def _pause(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        ground.trace.fault(fault.kind, name)
        ground.nodes[name].pause()


async def _resume(fault: Fault, ground: Ground) -> None:
    for name in fault.nodes:
        ground.nodes[name].resume()


async def _late_socket(fault: Fault, ground: Ground) -> None:
    """Stop a node for longer than most requests wait: what they sent lies in its socket meanwhile, and is
    read when nobody waits for it any more."""
    longer = replace(fault, lasts_s=fault.lasts_s + _LATE_S)
    await _pause(longer, ground)
    await asyncio.sleep(longer.lasts_s)
    await _resume(longer, ground)


KINDS: Final = (
    FaultKind("crash", crash, start_again, drawn(at_some), lasting=True),
    FaultKind("crash_all", _crash_all, _start_one_by_one, drawn(at_all)),
    FaultKind("restart", _restart, draw=drawn(at_some)),
    FaultKind("pause", _pause, _resume, drawn(at_some), lasting=True),
    FaultKind("crash_child", _crash_child, chance=0.35),  # often, as there must be a child to be met
    FaultKind("child_kill", _kill_child, chance=0.15),
    FaultKind("late_socket", _late_socket, chance=0.1),
)
