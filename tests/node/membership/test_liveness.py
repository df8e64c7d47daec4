"""The failure detector and the topology agent of whole clusters, over the simulated network and its time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import InvalidArgument, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, Start
from ringmill.cluster.membership.claims import Claim, MemberState, Message, Rank
from ringmill.cluster.membership.profile import FAST
from ringmill.cluster.ports import Ended, Priority
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.membership.liveness import PING, PING_REQ, Liveness
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.network import Endpoint, Network
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.virtual_loop import VirtualLoop
from tests.node.kept_values import KeptValues

UP, SUSPECT, DOWN = MemberState.UP, MemberState.SUSPECT, MemberState.DOWN
N1, N2, N3, N4, N5 = NODES = [NodeId(f"n{i}") for i in range(1, 6)]
seeds = pytest.mark.parametrize("seed", range(4))


def document() -> Topology:
    members = [
        Member(node, DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}", zone="a" if i < 3 else "b")
        for i, node in enumerate(NODES)
    ]
    return first_topology("demo", members)


class Run:
    """One run of a node: agent and liveness on the node's disk."""

    def __init__(
        self,
        cluster: Cluster,
        node: NodeId,
        start: int,
        disk: str | None = None,
        transport: type[SimulatedTransport] = SimulatedTransport,
    ) -> None:
        loop = cluster.loop
        self.process = loop.process(node)
        clock = SimulatedClock(loop)
        self.transport = transport(
            node, loop=loop, network=cluster.network, process=self.process, clock=clock
        )
        disk_id = DiskId(disk or document().member(node).disk)
        self.agent = TopologyAgent(node, disk=disk_id, store=cluster.disks[node], transport=self.transport)
        self.liveness = Liveness(
            node, disk=disk_id, start=Start(start, f"boot{start}"), profile=FAST,
            topology=self.agent, transport=self.transport, clock=clock,
            entropy=SeededEntropy(cluster.seed, f"{node}.{start}"), noted=lambda _: None,
        )  # fmt: skip
        for method, handler in {**self.agent.handlers(), **self.liveness.handlers()}.items():
            self.transport.serve(method, handler)
        self.start_number = start
        self.changes: list[tuple[NodeId, MemberState]] = []
        self.liveness.on_change(lambda node, state: self.changes.append((node, state)))
        self.is_alive = True
        self.task = loop.spawn(self.process, self._run())

    async def _run(self) -> None:
        await self.agent.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.agent.run())
            tasks.create_task(self.liveness.run())


class HeldBack(SimulatedTransport):
    """Keeps what is told of probes, to be told when the test likes."""

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        self.__dict__.setdefault("held", []).append(ended)


class Refusing(SimulatedTransport):
    """Fails each probe before `send` returns, and counts them."""

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        self.__dict__["refused"] = self.__dict__.get("refused", 0) + 1
        ended(Unavailable(f"{to} refuses"))


class Cluster:
    """Five nodes that know the first document already, unless they are new."""

    def __init__(self, seed: int = 1, *, is_new: bool = False) -> None:
        self.seed = seed
        self.loop = VirtualLoop(stream(seed, "schedule"))
        self.network = Network(self.loop, stream(seed, "network"), Trace(self.loop.time))
        self.disks = {node: KeptValues(0.001) for node in NODES}
        for disk in [] if is_new else self.disks.values():
            disk.durable["topology"] = document().encode()
            disk.durable["topology-formed"] = document().cluster.encode()
        self.ended: list[asyncio.Task[None]] = []
        self.runs = {node: Run(self, node, 1) for node in NODES}

    def kill(self, node: NodeId) -> None:
        """No byte leaves or reaches the run any more, and its connections break, as the system of a killed
        process closes them; its tasks are ended, so that none is left over."""
        dead = self.loop.process(node)
        self.loop.kill(dead)
        self.network.attach(node, Endpoint(dead, lambda sender, payload: None))
        self.runs[node].is_alive = False
        self.runs[node].task.cancel()
        self.ended.append(self.runs[node].task)
        for other, run in self.runs.items():
            if other != node and run.is_alive:
                self.loop.call_in(run.process, run.transport._reset, node)

    def restart(
        self,
        node: NodeId,
        *,
        disk: str | None = None,
        transport: type[SimulatedTransport] = SimulatedTransport,
    ) -> None:
        self.runs[node] = Run(self, node, self.runs[node].start_number + 1, disk, transport)

    def views(self, of: NodeId) -> set[MemberState]:
        return {run.liveness.state(of) for node, run in self.runs.items() if node != of and run.is_alive}

    async def until(self, reached: Callable[[], bool], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not reached():  # noqa: ASYNC110  virtual time
                await asyncio.sleep(0.01)

    def tell(self, story: Callable[[Cluster], Awaitable[None]]) -> None:
        async def whole() -> None:
            await story(self)
            for run in self.runs.values():
                run.task.cancel()
            await asyncio.wait([*self.ended, *(run.task for run in self.runs.values())])

        self.loop.run_until_complete(whole())
        assert self.loop.unhandled() == []
        assert [bug for run in self.runs.values() for bug in run.transport.bugs] == []
        self.loop.drop_everything()


@seeds
def test_a_killed_node_is_seen_down_and_a_restarted_one_up(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(2)
        cluster.kill(N3)
        await cluster.until(lambda: cluster.views(N3) == {DOWN}, within_s=2)
        cluster.restart(N3)
        await cluster.until(lambda: cluster.views(N3) == {UP}, within_s=0.5)
        await asyncio.sleep(3)
        assert all(cluster.views(node) == {UP} for node in NODES)

    Cluster(seed).tell(story)


@seeds
def test_a_paused_node_is_seen_down_and_comes_back_without_condemning_anyone(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(2)
        cluster.loop.pause(cluster.runs[N3].process)
        others = [run for node, run in cluster.runs.items() if node != N3]
        await cluster.until(lambda: all(run.liveness.state(N3) is DOWN for run in others), within_s=3)
        await asyncio.sleep(10)
        cluster.loop.resume(cluster.runs[N3].process)
        await cluster.until(lambda: cluster.views(N3) == {UP}, within_s=3)
        assert all(state is not DOWN for _, state in cluster.runs[N3].changes)

    Cluster(seed).tell(story)


@pytest.mark.parametrize("speaker", [N2, N3])
def test_what_one_member_makes_up_of_another_one_is_believed_by_nobody(speaker: NodeId) -> None:
    """n2 says that n3 is down, with a start that it never had: in its own name, or as if n3 spoke itself."""

    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(2)
        made_up = Claim(N3, document().member(N3).disk, DOWN, Rank(Start(99, "z"), 0))
        own = Claim(N2, document().member(N2).disk, UP, Rank(Start(1, "boot1"), 0))
        lie = Message(1, (own, made_up) if speaker == N2 else (made_up,)).encode()
        liar = cluster.runs[N2]

        async def tell(node: NodeId) -> None:
            await liar.transport.call(node, PING, lie, timeout_s=1.0, priority=Priority.CONTROL)

        for node in (N1, N3, N4, N5):
            await cluster.loop.spawn(liar.process, tell(node))
        await asyncio.sleep(3)
        assert all(N3 not in [node for node, _ in run.changes] for run in cluster.runs.values())
        cluster.kill(N3)
        cluster.restart(N3)
        await asyncio.sleep(1)
        assert cluster.views(N3) == {UP}

    Cluster().tell(story)


def test_a_quiet_cluster_says_nothing_of_anybody() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(40)  # a full exchange included
        assert all(run.changes == [] for run in cluster.runs.values())

    Cluster().tell(story)


def test_a_newer_topology_spreads_by_its_number_on_probes() -> None:
    async def story(cluster: Cluster) -> None:
        newer = replace(document(), epoch=Epoch(2))
        cluster.kill(N2)
        cluster.disks[N2].durable["topology"] = newer.encode()
        cluster.restart(N2)
        await cluster.until(lambda: all(run.agent.epoch == 2 for run in cluster.runs.values()), within_s=3)
        assert all(Topology.decode(disk.durable["topology"]) == newer for disk in cluster.disks.values())

    Cluster().tell(story)


def test_a_node_on_another_disk_keeps_silent_and_is_seen_down() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(1)
        cluster.kill(N3)
        cluster.restart(N3, disk="f" * 32)
        await cluster.until(lambda: cluster.views(N3) == {DOWN}, within_s=5)
        await asyncio.sleep(5)
        assert cluster.views(N3) == {DOWN}

    Cluster().tell(story)


def test_the_first_to_be_asked_are_up_then_near_then_as_given() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(0.5)
        liveness = cluster.runs[N2].liveness
        assert liveness.nearest_first([N4, N3, N2, N1]) == [N2, N3, N1, N4]  # n1 to n3 share a zone
        cluster.kill(N1)
        await cluster.until(lambda: liveness.state(N1) is DOWN, within_s=3)
        assert liveness.nearest_first([N1, N4, N2]) == [N2, N4, N1]
        assert liveness.nearest_first([N4, N3, N2, N1]) == [N2, N3, N4, N1]
        assert not liveness.is_up(N1)

    Cluster().tell(story)


def test_rubbish_in_place_of_a_probe_is_refused_and_does_no_harm() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(1)
        for method, body in (
            (PING, b"\xc1"),
            (PING_REQ, b"\xc1"),
            (PING_REQ, msgpack.packb(["n2", "soon", b""])),
        ):
            with pytest.raises(InvalidArgument):
                await cluster.runs[N1].transport.call(
                    N2, method, body, timeout_s=1, priority=Priority.CONTROL
                )
        await asyncio.sleep(2)
        assert all(cluster.views(node) == {UP} for node in NODES)

    Cluster().tell(story)


def test_a_helper_that_cannot_reach_the_target_says_so_at_once() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(1)
        cluster.kill(N3)
        body = msgpack.packb(["n3", 5.0, b""])
        began = cluster.loop.time()
        answer = await cluster.runs[N1].transport.call(
            N2, PING_REQ, body, timeout_s=6, priority=Priority.CONTROL
        )
        assert answer == b""
        assert cluster.loop.time() - began < 0.1

    Cluster().tell(story)


def test_a_probe_of_a_node_that_serves_nothing_is_refused() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.kill(N3)
        cluster.restart(N3, disk="f" * 32)
        await asyncio.sleep(0.5)
        with pytest.raises(Unavailable, match="does not answer probes"):
            await cluster.runs[N1].transport.call(N3, PING, b"", timeout_s=1, priority=Priority.CONTROL)

    Cluster().tell(story)


def test_what_is_told_of_a_probe_after_the_stop_changes_nothing() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.kill(N1)
        cluster.restart(N1, transport=HeldBack)
        run = cluster.runs[N1]
        await asyncio.sleep(1)
        assert isinstance(run.transport, HeldBack)
        held: list[Ended] = run.transport.__dict__["held"]
        members = {member.id: member.disk for member in document().members}
        news = [
            Claim(N2, members[N2], UP, Rank(Start(1, "boot1"), 0)),
            Claim(N4, members[N4], DOWN, Rank(Start(1, "boot1"), 0), N2),
        ]
        run.task.cancel()
        await asyncio.wait([run.task])
        assert len(held) > 4
        for ended in held:
            ended(Message(0, tuple(news)).encode())
        assert run.changes == []

    Cluster().tell(story)


def test_a_probe_that_is_refused_before_it_left_counts_once_and_keeps_nobody_busy() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.kill(N1)
        cluster.restart(N1, transport=Refusing)
        run = cluster.runs[N1]
        await asyncio.sleep(20)
        assert {node for node, state in run.changes if state is SUSPECT} == set(NODES) - {N1}
        assert run.transport.__dict__["refused"] < 20 * 50

    Cluster().tell(story)


@seeds
def test_of_two_formings_at_once_at_most_one_cluster_serves(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        members = list(document().members)
        offers = [document(), first_topology("other", members)]
        draw = stream(seed, "inits")

        async def form(run: Run, offer: Topology) -> None:
            await asyncio.sleep(draw.random() * 0.02)
            with contextlib.suppress(InvalidArgument):  # the other one was there before
                await run.agent.take_first(offer.encode())

        async with asyncio.TaskGroup() as tasks:
            for run in cluster.runs.values():
                for offer in offers:
                    tasks.create_task(form(run, offer))
        await cluster.until(lambda: any(run.agent.serving for run in cluster.runs.values()), within_s=10)
        await asyncio.sleep(5)
        serving = {run.agent.serving_topology().cluster for run in cluster.runs.values() if run.agent.serving}
        assert len(serving) == 1

    Cluster(seed, is_new=True).tell(story)


def test_a_new_cluster_serves_soon_after_forming() -> None:
    async def story(cluster: Cluster) -> None:
        for run in cluster.runs.values():
            await run.agent.take_first(document().encode())
        async with asyncio.timeout(0.2):
            for run in cluster.runs.values():
                await run.agent.wait_formed()
        assert all(run.agent.serving for run in cluster.runs.values())

    Cluster(is_new=True).tell(story)


def test_a_node_behind_a_slow_link_is_slow_to_all_until_it_is_fast_again() -> None:
    async def story(cluster: Cluster) -> None:
        others = [run for node, run in cluster.runs.items() if node != N3]
        await asyncio.sleep(8)
        assert not any(run.liveness.is_slow(node) for run in others for node in NODES)
        slow = [link for source, target, link in cluster.network.links() if N3 in (source, target)]
        for link in slow:
            link.latency_s = 0.04  # there and back well below the 0.2 s of a probe
        await cluster.until(lambda: all(run.liveness.is_slow(N3) for run in others), within_s=20)
        assert {run.liveness.state(N3) for run in others} == {UP}
        assert not any(run.liveness.is_slow(node) for run in others for node in NODES if node != N3)
        for link in slow:
            link.latency_s = 0.0004
        await cluster.until(lambda: not any(run.liveness.is_slow(N3) for run in others), within_s=5)

    Cluster().tell(story)
