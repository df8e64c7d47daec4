"""A cluster that runs jobs under faults: a World with a shared disk, job clients and a reader of outputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.client.jobs.job_values import job_state
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.bundle import Bundle, build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.node.services.jobs import job_status
from ringmill.simulator.clocks import SimulatedClock
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.faults import Fault
from ringmill.simulator.jobs import places_of_words
from ringmill.simulator.jobs.faults import JobInjector
from ringmill.simulator.jobs.history import JobHistory, JobRecord, Sighting
from ringmill.simulator.jobs.nodes import SHARED, JobNode, TaskPace
from ringmill.simulator.jobs.oracle import INPUT, Expected, content, write_file, write_input
from ringmill.simulator.jobs.sessions import JobSession, JobWish, told
from ringmill.simulator.options import RunOptions
from ringmill.simulator.seeds import SeededEntropy, stream
from ringmill.simulator.transport import SimulatedTransport
from ringmill.simulator.tunables import Tunables
from ringmill.simulator.world import NotQuiet, World

__all__ = ["JobWorld", "draw_wishes"]

_MODULE: Final = "places_of_words"
_REST_S: Final = 0.25
_FORMER: Final = {"_SUCCESS": b"{}\n", "part-00000": b"former\t1\n"}
_FORMER_CHANCE: Final = 0.3


def draw_wishes(draws: Random, bundle_sha256: str) -> list[JobWish]:
    """One or two jobs; now and then the second wants what the first one does."""
    wishes: list[JobWish] = []
    for index in range(draws.choice((1, 1, 2))):
        is_same = index == 1 and draws.random() < 0.3
        spec = JobSpec(
            job=f"job-{index}", module=_MODULE, name="places", bundle_sha256=bundle_sha256,
            inputs=(INPUT,), output=f"{SHARED}/out-{0 if is_same else index}", input_format="lines",
            output_format="tsv", reducers=2, compression=draws.choice(("none", "lz4", "zstd")),
            memory_bytes=draws.choice((200, 1 << 20)),
        )  # fmt: skip
        kill_after_s = 4.0 * draws.random() if draws.random() < 0.1 else None
        wishes.append(JobWish(index, spec, 1.5 * draws.random(), kill_after_s, draws.random() < 0.7))
    return wishes


def packed_job() -> Bundle:
    """The simulated clusters' job, packed by the real packer."""
    sources = {f"{_MODULE}.py": inspect.getsource(places_of_words).encode()}
    return build_bundle(_MODULE, sources.get)


class JobWorld(World):
    node_type = JobNode

    def __init__(self, seed: int, options: RunOptions, tunables: Tunables, *, story: bool = False) -> None:
        super().__init__(seed, options, tunables, story=story)
        self.jobs = JobHistory()
        self.shared = FolderTree(self._look)
        self.bundle = packed_job()
        self._expected: Mapping[str, Mapping[str, bytes]] = {}
        self._seen: dict[str, Sighting] = {}
        pace = TaskPace.draw(stream(seed, "tasks"), options.task_pause_s)
        for node in self._job_nodes():
            node.mount(self.shared, pace)
        draws = stream(seed, "faults/effect")
        self.injector = JobInjector(self.nodes, self._clients, self.network, self.trace, draws)

    async def run_jobs(self, wishes: Sequence[JobWish], faults: Sequence[Fault], expected: Expected) -> None:
        """Everything, from the input's making to the last look.  Raises NotQuiet."""
        write_input(self._seed, self.shared)
        wishes = self._with_former_outputs(wishes, stream(self._seed, "jobs/former"))
        self._expected = expected.files
        self.jobs.records, self.jobs.counters = expected.records, expected.counters
        await self.form()
        await self._under_faults(wishes, faults)
        self.trace.note("driver", "heals everything")
        await self.injector.heal([])
        await self._come_to_rest()
        for output in self._expected:
            self._see(output)
        self.jobs.fired = dict(self.trace.faults)

    def _with_former_outputs(self, wishes: Sequence[JobWish], draws: Random) -> list[JobWish]:
        """Now and then a job replaces what an earlier one left.

        Only one that is asked for once: each further run would replace, and hide for a moment, what the
        first has shown.
        """
        made: list[JobWish] = []
        for wish in wishes:
            output = wish.spec.output
            is_alone = not wish.is_repeated and sum(each.spec.output == output for each in wishes) == 1
            if draws.random() < _FORMER_CHANCE and is_alone:
                self.shared.mkdir(output)
                for name, data in _FORMER.items():
                    write_file(self.shared, f"{output}/{name}", data)
                for folder in (output, SHARED):
                    self.shared.fsync_dir(folder)
                wish = replace(wish, spec=replace(wish.spec, overwrite=True))  # noqa: PLW2901
            made.append(wish)
        return made

    async def _under_faults(self, wishes: Sequence[JobWish], faults: Sequence[Fault]) -> None:
        records = [JobRecord(wish.spec.job, wish.spec.output) for wish in wishes]
        self.jobs.jobs = records
        work = [self._client_of(wish, record) for wish, record in zip(wishes, records, strict=True)]
        try:
            async with asyncio.timeout(self.options.longest_s):
                await asyncio.gather(self.injector.run(faults), *work)
        except TimeoutError:
            self.trace.note("driver", "ends the first phase before its work is done")

    async def _client_of(self, wish: JobWish, record: JobRecord) -> None:
        name = self._clients[wish.index]
        process = self.loop.process(name)
        transport = SimulatedTransport(
            name, loop=self.loop, network=self.network, process=process,
            clock=SimulatedClock(self.loop), is_client=True,
        )  # fmt: skip
        transport.set_peers({NodeId(node): each.address for node, each in self.nodes.items()})
        nodes = {each.address: NodeId(node) for node, each in self.nodes.items()}
        timeout_s = stream(self._seed, f"client/{name}").choice((0.5, 2.0, 10.0))
        session = JobSession(transport, nodes, SeededEntropy(self._seed, f"client/{name}"), timeout_s)
        await self.loop.spawn(process, session.work_off(wish, self.bundle, record))

    async def _come_to_rest(self) -> None:
        """Every job that a node keeps must end; then what its end was is noted."""
        try:
            async with asyncio.timeout(self.options.quiet_s):
                for process in self.nodes.values():
                    await process.inside((await process.up()).membership.topology.wait_formed())
                while self._still_running():  # noqa: ASYNC110 - virtual time costs nothing
                    await asyncio.sleep(_REST_S)
        except TimeoutError:
            self.jobs.unfinished = self._still_running()
            if not self.jobs.unfinished:
                raise NotQuiet(f"a node is not up {self.options.quiet_s:.0f} s after healing") from None
        self._note_ends()

    def _still_running(self) -> list[str]:
        return [
            f"{view.job} on {node.name}"
            for node in self._job_nodes()
            for view in (node.node.jobs.views() if node.node else [])
            if not view.is_over
        ]

    def _note_ends(self) -> None:
        records = {record.job: record for record in self.jobs.jobs}
        for node in self._job_nodes():
            for view in node.node.jobs.views() if node.node else []:
                state = job_state(job_status(view))
                records[view.job].told.append(told(self.loop.time(), state))

    def close(self) -> None:
        for node in self._job_nodes():
            if node.spawner is not None:
                node.spawner.kill_all()

    def _job_nodes(self) -> list[JobNode]:
        return [node for node in self.nodes.values() if isinstance(node, JobNode)]

    def _look(self, path: str) -> None:
        """A name has changed: look at the outputs that it may belong to."""
        for output in self._expected:
            if path == "/" or f"{path}/".startswith(f"{output}/"):
                self._see(output)

    def _see(self, output: str) -> None:
        state, story = "absent", ""
        if self.shared.is_dir(output):
            found, wanted = content(self.shared, output), self._expected[output]
            state = "whole" if found == wanted else "former" if found == _FORMER else "torn"
            wrong = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
            story = f"holds {', '.join(found) or 'nothing'}; not as wanted: {', '.join(wrong) or 'none'}"
        seen = Sighting(self.loop.time(), output, state, story)  # type: ignore[arg-type]
        former = self._seen.get(output)
        if former is None or (former.state, former.story) != (state, story):
            self.trace.note("reader", f"sees {output} {state}")
            self.jobs.sightings.append(seen)
        self._seen[output] = seen
