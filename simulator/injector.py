"""Applies a run's list of faults to its world at their times, and takes them away again.

What each kind does is told here and nowhere else; the list itself is drawn in simulator/faults.py.  A fault
is counted when it fires: process and clock faults and splits when they are applied, those of links and disks
with each message or call that they hit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.faults import Fault
from ringmill.simulator.folder_faults import FolderFaults
from ringmill.simulator.network import Link, Network
from ringmill.simulator.node_process import NodeProcess
from ringmill.simulator.trace import Trace

__all__ = ["Injector", "cuts_of"]

_LOOK_EVERY_S: Final = 0.005
_LATE_S: Final = 0.5
_SKEW_S: Final = 7200.0
_POWER_CUTS: Final = (CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN, CrashModel.NAMES_FIRST)


class Injector:
    """`run` until the last fault is over.  `heal` undoes whatever is still in force."""

    def __init__(
        self,
        nodes: dict[str, NodeProcess],
        clients: Sequence[str],
        network: Network,
        trace: Trace,
        draws: Random,
    ) -> None:
        self._nodes = nodes
        self._clients = list(clients)
        self._network = network
        self._trace = trace
        self._draws = draws
        self.folders = FolderFaults(nodes, network, trace, draws)
        self.document = b""  # the cluster's first topology
        self._cuts: Counter[tuple[str, str]] = Counter()  # of each directed link, the splits that cut it
        self._apart: list[str] = []  # nodes that nobody may listen to any more

    async def run(self, faults: Sequence[Fault]) -> None:
        """Apply each fault at its time, relative to now."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._apply(fault))

    async def heal(self, lost: Sequence[str]) -> None:
        """What can be mended by hand: links whole, disks well, nodes running but for those that are lost."""
        self._cuts.clear()
        for _, _, link in self._network.links():
            _mend(link)
        self._keep_apart()
        for name in lost:
            self._nodes[name].resume()
        for node in [node for name, node in self._nodes.items() if name not in lost]:
            node.disk.slower_s = node.disk.error_chance = 0.0
            node.disk.make_room()
            node.resume()
            if node.disk.was_faulty or not node.is_running:
                node.kill(None)
                node.start()

    async def _apply(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        act: Callable[[Fault], Awaitable[None]] = getattr(self, f"_{fault.kind}")
        await act(fault)

    # Processes

    async def _crash(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._kill(name, self._crash_model(), fault.kind)
        await asyncio.sleep(fault.lasts_s)
        self._start(fault.nodes)

    async def _crash_child(self, fault: Fault) -> None:
        """Crash the node in the midst of a flush or a merge, as soon as there is one."""
        node = self._nodes[fault.nodes[0]]
        for _ in range(int(fault.lasts_s / _LOOK_EVERY_S)):
            if node.has_child_at_work:
                await self._crash(fault)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _crash_all(self, fault: Fault) -> None:
        model = self._crash_model()
        for name in fault.nodes:
            self._kill(name, model, fault.kind)
        for name in fault.nodes:
            await asyncio.sleep(fault.lasts_s * self._draws.random())
            self._start([name])

    async def _restart(self, fault: Fault) -> None:
        for name in fault.nodes:
            node = self._nodes[name]
            if node.is_running:
                self._trace.fault(fault.kind, name)
                node.resume()
                await node.stop()
                await asyncio.sleep(fault.lasts_s * self._draws.random())
                self._start([name])

    async def _pause(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._trace.fault(fault.kind, name)
            self._nodes[name].pause()
        await asyncio.sleep(fault.lasts_s)
        for name in fault.nodes:
            self._nodes[name].resume()

    async def _late_socket(self, fault: Fault) -> None:
        """Stop a node for longer than most requests wait: what they sent lies in its socket meanwhile, and is
        read when nobody waits for it any more."""
        await self._pause(replace(fault, lasts_s=fault.lasts_s + _LATE_S))

    # Clocks

    async def _clock_jump(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._trace.fault(fault.kind, name)
            self._nodes[name].clock.jump(fault.amount)

    async def _skewed_clock(self, fault: Fault) -> None:
        """A node is started with a clock that is two hours ahead, or behind.  Nothing jumps while it runs."""
        for name in fault.nodes:
            node = self._nodes[name]
            if node.is_running:
                self._trace.fault(fault.kind, name)
                node.resume()
                await node.stop()
                node.clock.jump(_SKEW_S if fault.amount > 0 else -_SKEW_S)
                self._start([name])

    async def _host_clock_step(self, fault: Fault) -> None:
        """All nodes stand on one host, and somebody sets its clock."""
        self._trace.fault(fault.kind, ",".join(fault.nodes))
        for name in fault.nodes:
            self._nodes[name].clock.jump(fault.amount)

    async def _clock_drift(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._trace.fault(fault.kind, name)
            self._nodes[name].clock.drift_by(fault.amount)

    # Splits

    async def _split_one(self, fault: Fault) -> None:
        await self._split(fault)

    async def _split_halves(self, fault: Fault) -> None:
        await self._split(fault)

    async def _split_bridge(self, fault: Fault) -> None:
        await self._split(fault)

    async def _split_ring(self, fault: Fault) -> None:
        await self._split(fault)

    async def _one_way(self, fault: Fault) -> None:
        await self._split(fault)

    async def _flapping(self, fault: Fault) -> None:
        times = 3
        for _ in range(times):
            await self._split(fault, fault.lasts_s / times / 2)
            await asyncio.sleep(fault.lasts_s / times / 2)

    async def _split(self, fault: Fault, lasts_s: float | None = None) -> None:
        self._trace.fault(fault.kind, ",".join(fault.nodes))
        pairs = cuts_of(fault.kind, fault.nodes)
        self._cuts.update(pairs)
        self._cut()
        await asyncio.sleep(fault.lasts_s if lasts_s is None else lasts_s)
        self._cuts.subtract(pairs)
        self._cut()

    def _cut(self) -> None:
        """A link is cut while any split says so."""
        for (source, target), splits in self._cuts.items():
            self._network.link(source, target).is_cut = splits > 0
        self._keep_apart()

    # Links

    async def _loss(self, fault: Fault) -> None:
        await self._on_links(fault, "loss")

    async def _duplicate(self, fault: Fault) -> None:
        await self._on_links(fault, "duplicate")

    async def _reorder(self, fault: Fault) -> None:
        await self._on_links(fault, "reorder")

    async def _slow_link(self, fault: Fault) -> None:
        self._trace.fault(fault.kind, ",".join(fault.nodes))
        await self._on_links(fault, "latency_s")

    async def _stuck_link(self, fault: Fault) -> None:
        self._trace.fault(fault.kind, ",".join(fault.nodes))
        until = asyncio.get_running_loop().time() + fault.lasts_s
        for link in self._links(fault):
            link.stuck_until = max(link.stuck_until, until)

    async def _on_links(self, fault: Fault, what: str) -> None:
        links = list(self._links(fault))
        for link in links:
            setattr(link, what, getattr(link, what) + fault.amount)
        await asyncio.sleep(fault.lasts_s)
        for link in links:
            setattr(link, what, max(0.0, getattr(link, what) - fault.amount))

    def _links(self, fault: Fault) -> Iterator[Link]:
        """Both directions between the named nodes; when all are named, those to clients too."""
        names = [*fault.nodes, *(self._clients if len(fault.nodes) == len(self._nodes) else ())]
        for source in names:
            for target in names:
                if source != target:
                    yield self._network.link(source, target)

    # Disks

    async def _disk_error(self, fault: Fault) -> None:
        disk = self._nodes[fault.nodes[0]].disk
        disk.error_chance = 0.3
        await asyncio.sleep(fault.lasts_s)
        disk.error_chance = 0.0
        await self._replace_faulty(fault.nodes[0])

    async def _disk_full(self, fault: Fault) -> None:
        disk = self._nodes[fault.nodes[0]].disk
        disk.fill_up()
        await asyncio.sleep(fault.lasts_s)
        disk.make_room()
        await self._replace_faulty(fault.nodes[0])

    async def _disk_slow(self, fault: Fault) -> None:
        disk = self._nodes[fault.nodes[0]].disk
        disk.slower_s += fault.amount
        await asyncio.sleep(fault.lasts_s)
        disk.slower_s = max(0.0, disk.slower_s - fault.amount)

    async def _disk_lost(self, fault: Fault) -> None:
        """The node comes back under its name with an empty disk, and somebody repeats the cluster's init."""
        name = fault.nodes[0]
        node = self._nodes[name]
        self._trace.fault(fault.kind, name)
        node.kill(CrashModel.PREFIX)
        node.disk.replace()
        await asyncio.sleep(fault.lasts_s * self._draws.random())
        if node.run is None:
            node.start()
            await self._init_again(node)

    async def _disk_lies(self, fault: Fault) -> None:
        """Power goes, and some of what the disk had called synced with it.

        No protocol can hold with such a node, so it is kept apart from then on: it may refuse to start, but
        it must not invent anything.
        """
        name = fault.nodes[0]
        self._kill(name, CrashModel.LYING, fault.kind)
        self._apart.append(name)
        self._keep_apart()
        self._start([name])

    # Folders

    async def _folder_restored(self, fault: Fault) -> None:
        await self.folders.restore(fault.nodes[0], fault.kind)

    async def _store_lost(self, fault: Fault) -> None:
        await self.folders.lose_store(fault.nodes[0], fault.kind)

    async def _folder_copied(self, fault: Fault) -> None:
        await self.folders.copy(fault.nodes[0], fault.kind)

    def _keep_apart(self) -> None:
        self.folders.keep_cut_off()
        for name in self._apart:
            for other in (*self._nodes, *self._clients, "last"):
                if other != name:
                    self._network.link(name, other).is_cut = self._network.link(other, name).is_cut = True

    @property
    def apart(self) -> Sequence[str]:
        """Nodes whose disks have lied."""
        return self._apart

    async def _init_again(self, node: NodeProcess) -> None:
        assert self.document, "the cluster was formed"
        try:
            agent = (await node.up()).membership.topology
            await node.inside(agent.init(self.document))
        except (InvalidArgument, RuntimeError) as error:
            self._trace.note(node.name, f"is not taken back: {type(error).__name__}")

    async def _bit_flip(self, fault: Fault) -> None:
        """Bits rot in tables that were synced long ago; now and then a restart empties the caches above."""
        name = fault.nodes[0]
        for _ in range(self._nodes[name].disk.rot()):
            self._trace.fault(fault.kind, name)
        if self._draws.random() < 0.5:
            await self._crash(replace(fault, kind="crash"))

    async def _bit_rot(self, fault: Fault) -> None:
        """The node stops in order, bits turn in every file of its folder, and it starts again."""
        name = fault.nodes[0]
        node = self._nodes[name]
        if not node.is_running:
            return
        node.resume()
        await node.stop()
        if node.run is None:
            for _ in range(node.disk.rot_everywhere()):
                self._trace.fault(fault.kind, name)
        self._start([name])

    async def _replace_faulty(self, name: str) -> None:
        """What an operator does once the disk is well: start the node again."""
        node = self._nodes[name]
        if node.disk.was_faulty or not node.is_running:
            node.kill(None)
            self._start([name])

    # What they share

    def _kill(self, name: str, model: CrashModel | None, kind: str) -> None:
        if self._nodes[name].is_running:
            self._trace.fault(kind, name)
            self._nodes[name].kill(model)

    def _start(self, names: Sequence[str]) -> None:
        for name in names:
            if self._nodes[name].run is None:
                self._nodes[name].start()

    def _crash_model(self) -> CrashModel | None:
        """A killed process, or a power cut in one of its forms."""
        return self._draws.choice((None, *_POWER_CUTS))


def cuts_of(kind: str, order: Sequence[str]) -> list[tuple[str, str]]:
    """The directed links that a split of this kind cuts, given the nodes in a drawn order."""
    half = len(order) // 2
    match kind:
        case "split_halves":
            return _between(order[:half], order[half:])
        case "split_bridge":  # one node reaches both sides
            return _between(order[:half], order[half + 1 :])
        case "split_ring":  # each sees a majority, no two the same one
            reach = (half + 1) // 2
            count = len(order)
            return [
                (one, other)
                for at, one in enumerate(order)
                for to, other in enumerate(order)
                if at != to and min((at - to) % count, (to - at) % count) > reach
            ]
        case "one_way":
            return [(order[0], other) for other in order[1:]]
        case _:
            return _between(order[:1], order[1:])


def _between(ones: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(one, other) for one in ones for other in others]
    return pairs + [(other, one) for one, other in pairs]


def _mend(link: Link) -> None:
    link.is_cut = False
    link.loss = link.duplicate = link.reorder = link.stuck_until = 0.0
    link.latency_s = Link().latency_s
