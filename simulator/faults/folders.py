"""Wrong data folders: an older copy restored, a copy started beside the original, a store lost, a machine put
back to a snapshot of its memory.

Those with an older copy happen only once enough members remember what the copy lacks; before that nobody
could notice it (docs/operations.md says how long that takes).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from ringmill.cluster.ids import Start
from ringmill.cluster.membership.start_rules import (
    EARLIER_STARTS,
    Announcement,
    FoundLogs,
    LogMark,
    StartVerdict,
    judge,
    others_needed,
)
from ringmill.node.identity.identity import FolderRefused, read_identity
from ringmill.node.storage.recovery.log_extent import found_logs
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.faults.fault import Fault, FaultKind, early
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.node_process import DATA, NodeProcess

__all__ = ["KINDS"]

_LONGEST_WAIT_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.05
_DEAF: Final = 1 / 2  # of the copies are started while a few members do not hear the original
_WHO_S: Final = 1.0  # a member that asks in vain whether the original is alive knows by then
_REFUSALS_S: Final = 3.0  # the original hears by then what those members have noted
_OF_ALL: Final = 1 / 3  # of the restores come with a power cut of the whole cluster
_SURELY: Final = LogMark(20, 8192)  # files and bytes: more than a start writes before it tells of itself
_ALONE: Final = 1 / 4  # of the restored nodes are cut off from the others


async def _restore(fault: Fault, ground: Ground) -> None:
    """Put back a copy of a node's folder, taken live or after an orderly stop, and start on it."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    kept = await _copy_of(node, ground)
    if kept is None or not await _wait_until_outdated(node, kept, ground):
        return
    ground.trace.fault(fault.kind, name)
    fallen = list(ground.nodes) if ground.draws.random() < _OF_ALL else [name]
    for each in fallen:
        ground.nodes[each].kill(CrashModel.PREFIX)
    node.disk.put_back(kept)
    if ground.draws.random() < _ALONE:
        ground.cut_off.append(name)
        ground.keep_apart()
    await asyncio.sleep(ground.draws.random())
    ground.start(fallen)


async def _put_back_machine(fault: Fault, ground: Ground) -> None:
    """A machine goes on from a snapshot of its disk and memory, taken as its node had just been started: it
    is the same start, and would count its writes from the beginning."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not node.is_running or node.node is None:
        return
    ground.trace.fault("restart", name)
    await node.stop()
    kept = node.disk.lossy.after_kill()
    ground.start([name])
    present = node.current
    if present is None or not await _wait_until_written(node, ground) or node.current is not present:
        return
    ground.trace.fault(fault.kind, name)
    node.kill(CrashModel.PREFIX)
    node.disk.put_back(kept)
    await asyncio.sleep(ground.draws.random())
    if node.current is None:  # unless another fault has started it meanwhile
        node.start(is_last_again=True)


async def _wait_until_written(node: NodeProcess, ground: Ground) -> bool:
    """Wait until enough others remember more of the present start's log than it had as it was confirmed.

    Returns whether they do in time.
    """
    begun: LogMark | None = None
    least = len(ground.nodes) - others_needed(len(ground.nodes))
    for _ in range(int(_LONGEST_WAIT_S / _LOOK_EVERY_S)):
        await asyncio.sleep(_LOOK_EVERY_S)
        if node.node is None or not node.node.membership.topology.serving:
            continue
        if node.node.membership.topology.serving_topology().epoch > 1:
            return False  # what a start has missed meanwhile it writes at once, and that may be as much
        mark = LogMark(*node.node.replica.engine.synced_log)
        begun = begun or mark
        disk, start = node.node.identity.disk, node.node.identity.start
        others = [each.node for each in ground.nodes.values() if each is not node and each.node]
        known = [other.membership.starts.remembered(disk) for other in others]
        marks = [each.mark for each in known if each is not None and each.start == start]
        if sum(_is_far(begun, mark) for mark in marks) >= least:
            return True
    return False


def _is_far(begun: LogMark, mark: LogMark) -> bool:
    is_longer = mark.log == begun.log and mark.size_bytes >= begun.size_bytes + _SURELY.size_bytes
    return is_longer or mark.log >= begun.log + _SURELY.log


async def _lose_store(fault: Fault, ground: Ground) -> None:
    """Empty a node's store, or put an older copy of it back, under the identity that is there."""
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not node.is_running or node.node is None:
        return
    older = node.disk.lossy.after_kill() if ground.draws.random() < 0.5 else None
    await node.stop()
    if older is not None and ground.draws.random() < 0.5:
        ground.start([name])
        with suppress(RuntimeError):  # it ended again
            await node.up()
        node.kill(None)
    if node.current is None:
        ground.trace.fault(fault.kind, name)
        node.disk.put_back(node.disk.lossy.after_kill())
        node.disk.make_room()
        _replace_store(node.disk.lossy, older)
        await asyncio.sleep(ground.draws.random())
        ground.start([name])


class EndedByFew(Exception):
    """A node that served was ended by fewer members than could have let the copy of its folder serve."""


async def _start_a_copy(fault: Fault, ground: Ground) -> None:
    """Start a process on a copy of a running node's folder, under another address.

    In some runs a few members, fewer than a start needs, do not hear the original meanwhile.  They take the
    copy for its next start, and refuse the original once they hear it again.
    """
    name = fault.nodes[0]
    node = ground.nodes[name]
    if not node.is_running or node.node is None:
        return
    deaf = _some_deaf(name, ground)
    pairs = [pair for other in deaf for pair in ((name, other), (other, name))]
    ground.cut(pairs)
    kept = node.disk.lossy.after_kill()
    if await _wait_until_outdated(node, kept, ground, spared=len(deaf)):
        ground.trace.fault(fault.kind, name)
        twin = node.beside(kept, f"{name}-copy{len(ground.copies)}")
        ground.copies.append(twin)
        node.has_twin = True
        twin.start()
        await asyncio.sleep(_WHO_S if deaf else 0.0)
    ground.join(pairs)
    if deaf and node.has_twin:
        await _check_that_it_goes_on(node, ground)


def _some_deaf(name: str, ground: Ground) -> list[str]:
    others = [each for each in ground.nodes if each != name]
    too_few = others_needed(len(ground.nodes)) - 1
    return ground.draws.sample(others, too_few) if ground.draws.random() < _DEAF else []


async def _check_that_it_goes_on(node: NodeProcess, ground: Ground) -> None:
    """A node that serves goes on until as many members refuse it as could have confirmed the copy (I3)."""
    present, serving = node.current, node.node
    if present is None or present.life is None or serving is None or not serving.membership.topology.serving:
        return
    start = serving.identity.start
    await asyncio.sleep(_REFUSALS_S)
    ended = present.life.done() and not present.life.cancelled() and present.life.exception()
    if not isinstance(ended, FolderRefused):
        return
    others = [each.node for each in ground.nodes.values() if each is not node and each.node]
    known = [other.membership.starts.remembered(serving.identity.disk) for other in others]
    against = sum(each is not None and each.start != start for each in known)
    topology = serving.membership.topology.current
    assert topology is not None, "it served"
    if against < others_needed(len(topology.standing)):
        node.failures.append(EndedByFew(f"{node.name} served and was ended by {against} members"))


async def _copy_of(node: NodeProcess, ground: Ground) -> LossyDisk | None:
    if not node.is_running or node.node is None:
        return None
    if ground.draws.random() < 0.5:
        return node.disk.lossy.after_kill()
    await node.stop()
    kept = node.disk.lossy.after_kill()
    ground.start([node.name])
    return kept


async def _wait_until_outdated(
    node: NodeProcess, kept: LossyDisk, ground: Ground, *, spared: int | None = None
) -> bool:
    """Wait until all others but `spared` remember what the copy lacks.  Returns whether they do in time.

    By default as many are spared as leave one who knows in any half of them.
    """
    announced = _announced_by(node, kept)
    if announced is None:
        return False
    count = len(ground.nodes)
    least = count - 1 - (others_needed(count) - 1 if spared is None else spared)
    for _ in range(int(_LONGEST_WAIT_S / _LOOK_EVERY_S)):
        others = [each.node for each in ground.nodes.values() if each is not node and each.node]
        known = [other.membership.starts.remembered(announced.disk) for other in others]
        if sum(judge(each, announced) is StartVerdict.OLD_COPY for each in known) >= least:
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


def _replace_store(disk: LossyDisk, older: LossyDisk | None) -> None:
    """All of the store's files go; those of an older disk come."""
    store = f"{DATA}/store"
    if not disk.is_dir(store):
        return
    for name in disk.list(store):
        if not disk.is_dir(f"{store}/{name}"):
            disk.unlink(f"{store}/{name}")
    if older is not None:
        older.mend()  # whoever copies a disk with bad sectors copies what can be read
        for name in older.list(store):
            if not older.is_dir(f"{store}/{name}"):
                file = disk.create(f"{store}/{name}")
                file.append(older.read_bytes(f"{store}/{name}"))
                file.sync()
    disk.fsync_dir(store)


def _announced_by(node: NodeProcess, kept: LossyDisk) -> Announcement | None:
    """What the next start on a copy would tell of itself."""
    record = read_identity(kept, DATA)
    if record is None:
        return None
    highest, logs = found_logs(kept, f"{DATA}/store")
    earlier = (record.start, *record.earlier)[:EARLIER_STARTS]
    found = FoundLogs(highest, tuple(LogMark(*log) for log in logs))
    return Announcement(node.name, record.disk, Start(record.start.number + 1, "copied"), earlier, found)


KINDS: Final = (
    FaultKind("folder_restored", _restore, chance=0.1, loses=True),
    FaultKind("folder_copied", _start_a_copy, draw=early, chance=0.15, loses=True),
    FaultKind("store_lost", _lose_store, chance=0.05, loses=True),
    FaultKind("machine_put_back", _put_back_machine, draw=early, chance=0.05, loses=True),
)
