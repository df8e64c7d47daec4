"""The nodes, network and disks of a run that faults act on, and what several kinds of fault share.

It also knows what is in force, so that everything, or a core of the nodes alone, can be healed by hand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from statistics import median_low
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.network import DirectedLink, Network
from ringmill.simulator.world.node_process import NodeProcess

__all__ = ["Ground"]

_LONGEST_TAKE_S: Final = 30.0
_POWER_CUTS: Final = (CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN, CrashModel.NAMES_FIRST)


class Ground:
    """`clients` are the names of all processes that ask; they are added before the first fault."""

    def __init__(
        self,
        nodes: Mapping[str, NodeProcess],
        network: Network,
        shared: FolderTree,
        trace: Trace,
        draws: Random,
    ) -> None:
        self.nodes = nodes
        self.network = network
        self.shared = shared
        self.trace = trace
        self.draws = draws
        self.clients: list[str] = []
        self.document = b""  # the cluster's first topology
        self.copies: list[NodeProcess] = []  # started beside others, on copies of their folders
        self.apart: list[str] = []  # nodes whose disks have lied: nobody may listen to them any more
        self.operators: list[asyncio.Task[None]] = []  # who goes on until what they want is done
        self.cut_off: list[str] = []  # nodes that never reach another node again
        self._cuts: Counter[tuple[str, str]] = Counter()  # of each directed link, the splits that cut it

    def kill(self, names: Sequence[str], model: CrashModel | None, kind: str) -> None:
        for name in names:
            if self.nodes[name].is_running:
                self.trace.fault(kind, name)
                self.nodes[name].kill(model)

    def start(self, names: Sequence[str]) -> None:
        for name in names:
            if self.nodes[name].current is None:
                self.nodes[name].start()

    def crash_model(self) -> CrashModel | None:
        """A killed process, or a power cut in one of its forms."""
        return self.draws.choice((None, *_POWER_CUTS))

    async def form_again(self, node: NodeProcess) -> None:
        """Somebody forms the cluster again."""
        assert self.document, "the cluster was formed"
        try:
            agent = (await node.up()).membership.topology
            taking = node.inside(agent.take_first(self.document))
            await asyncio.wait([taking], timeout=_LONGEST_TAKE_S)  # a node that is killed never tells
            if taking.done():
                taking.result()
        except (InvalidArgument, RuntimeError) as error:
            self.trace.note(node.name, f"is not taken back: {type(error).__name__}")

    def replace_faulty(self, name: str) -> None:
        """What an operator does once the disk is well: start the node again."""
        node = self.nodes[name]
        if node.disk.was_faulty or not node.is_running:
            node.kill(None)
            self.start([name])

    # Links

    def links(self, names: Sequence[str]) -> Iterator[DirectedLink]:
        """Both directions between the named nodes; when all are named, those to clients too."""
        ends = [*names, *(self.clients if len(names) == len(self.nodes) else ())]
        for source in ends:
            for target in ends:
                if source != target:
                    yield self.network.link(source, target)

    def cut(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._cuts.update(pairs)
        self._apply_cuts()

    def join(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Take a cut back; a link stays cut while another split says so."""
        self._cuts.subtract(pairs)
        self._apply_cuts()

    def keep_apart(self) -> None:
        """Some nodes reach no other node any more, and those whose disks have lied nobody at all."""
        for name in self.cut_off:
            self._isolate(name, self.nodes)
        for name in self.apart:
            self._isolate(name, (*self.nodes, *self.clients))

    def _isolate(self, name: str, others: Mapping[str, object] | Sequence[str]) -> None:
        for other in others:
            if other != name:
                self.network.link(name, other).is_cut = self.network.link(other, name).is_cut = True

    def _apply_cuts(self) -> None:
        for (source, target), splits in self._cuts.items():
            self.network.link(source, target).is_cut = splits > 0
        self.keep_apart()

    def ends_beside(self, name: str) -> list[str]:
        """Everybody whom a node has a link with: the other nodes and all clients."""
        return [other for other in (*self.nodes, *self.clients) if other != name]

    # Healing

    def heal_core(self, rest: Sequence[str]) -> None:
        """Nodes, disks, clocks and the links between them, but for the rest's; clients reach the core."""
        self._cuts.clear()
        for source, target, link in self.network.links():
            if source not in rest and target not in rest:
                self._mend(link)
        self.keep_apart()
        core = [node for name, node in self.nodes.items() if name not in rest]
        self.set_clocks(core)
        for node in core:
            _mend_node(node)

    def set_clocks(self, nodes: Sequence[NodeProcess]) -> None:
        """Set the clocks of these nodes to what most of all say."""
        right = median_low(node.clock.offset_s for node in self.nodes.values())
        for node in nodes:
            node.clock.set_right(right)

    async def heal(self, lost: Sequence[str]) -> None:
        """What can be mended by hand: links whole, disks well, nodes running but for those that are lost."""
        self._cuts.clear()
        self.network.traps.clear()
        for _, _, link in self.network.links():
            self._mend(link)
        self.keep_apart()
        for name in lost:
            self.nodes[name].resume()
        for node in [node for name, node in self.nodes.items() if name not in lost]:
            _mend_node(node)

    def _mend(self, link: DirectedLink) -> None:
        link.is_cut = False
        link.loss = link.duplicate = link.reorder = 0.0
        link.latency_s = DirectedLink().latency_s
        self.network.let_go(link)


def _mend_node(node: NodeProcess) -> None:
    """A well disk, and a start that has met no faulty one."""
    node.disk.slower_s = node.disk.error_chance = 0.0
    node.disk.make_room()
    node.resume()
    if node.disk.was_faulty or not node.is_running:
        node.kill(None)
        node.start()
