"""Let members come and go under a checked load, and kill a node in the midst of each change.

    python scripts/chaos/members.py --seed 7 [--kills 2] [--json PATH]

Three nodes grow to six and shrink to four; one of them loses its folder and is filled again; one is killed
and removed as dead; two give their places to new nodes, one of them dead. Each change is planned, made as a
user makes it, and disturbed: after a moment that the seed draws, a node that it draws, old or new, is
killed with SIGKILL and started again on its data, `--kills` times. A command that ends with an error is
gone on with by `ringmill cluster moves --follow`.

Objects, registers and counters are written and read all the time (client/chaos/chaos_load.py) and judged in
the end.  Errors are expected only while two owners may be away at once: in the changes that lose a disk.
Exit 0 when no promise was broken, no other error came, after each change the fullest node had at most 1.05
of its share, and all that was read to fill copies is at most 1.1 times what the plans said.  The seed
chooses nodes and moments; real processes keep their own timing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from ringmill.client.chaos.chaos_load import ChaosLoad, Spaces  # noqa: E402
from ringmill.client.chaos.load_tally import LoadTally  # noqa: E402
from ringmill.client.checked.merging_calls import MergingCall  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.local import local_cluster, processes  # noqa: E402
from ringmill.client.local.local_cluster import KILL_PATIENCE_S  # noqa: E402
from ringmill.client.local.local_forming import start_again  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402

__all__ = ["main"]

BALANCE_GOAL: Final = 1.05
MOVED_GOAL: Final = 1.1
LOOK_S: Final = 0.1
FILLERS, FILLER_BYTES, BATCH = 2_048, 4_096, 256  # else the load alone would decide how much is moved
COMMAND_S: Final = 180.0
HEALTHY_S: Final = "120s"
CALM_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """`loses`: the disk of the node is gone before the verb; two owners may be away at once then.

    `heir` takes the place of a node that is replaced; without one the node is filled again.
    """

    verb: str
    node: str
    loses: bool = False
    heir: str = ""

    @property
    def line(self) -> tuple[str, ...]:
        if self.verb == "add":
            return ("cluster", "add")
        dead = ("--dead",) if self.goes and self.loses else ()
        return ("cluster", self.verb, f"{self.node}={self.heir}" if self.heir else self.node, *dead)

    @property
    def goes(self) -> bool:
        """Whether the node is no member in the end."""
        return self.verb == "remove" or bool(self.heir)

    @property
    def is_refill(self) -> bool:
        """Whether the node gets an empty disk: a change without moves."""
        return self.verb == "replace" and not self.heir


CHANGES: Final = (
    Change("add", "n4"),
    Change("add", "n5"),
    Change("add", "n6"),
    Change("remove", "n2"),
    Change("remove", "n5"),
    Change("replace", "n3", loses=True),
    Change("remove", "n1", loses=True),
    Change("replace", "n4", heir="n7"),
    Change("replace", "n6", loses=True, heir="n8"),
)


@dataclass(slots=True)
class Outcome:
    """What came of one change: the bytes of objects that its plan said, and those that were read for it."""

    change: str
    seconds: float = 0.0
    planned: int = 0
    moved: int = 0
    fullness: float = 0.0
    killed: list[str] = field(default_factory=list)
    resumed: str = ""
    errors_before: int = 0


class ReadMeter:
    """What nodes have read to fill copies, in bytes, since they were first started.

    A node that is killed counts from zero again: what it read between the last look and its end is missing.
    """

    def __init__(self) -> None:
        self.read_bytes = 0
        self._last: dict[str, int] = {}

    def note(self, read_bytes: Mapping[str, int]) -> None:
        for node, now in read_bytes.items():
            last = self._last.get(node, 0)
            self.read_bytes += now - last if now >= last else now
            self._last[node] = now


def moved_too_much(outcomes: Sequence[Outcome]) -> list[str]:
    """The trouble with what all changes have moved, where there is one."""
    planned, moved = sum(each.planned for each in outcomes), sum(each.moved for each in outcomes)
    if moved <= MOVED_GOAL * planned:
        return []
    times = moved / max(planned, 1)
    return [f"{moved:,} bytes were read for moves, {times:.2f} times the {planned:,} of the plans"]


def batches() -> Iterator[list[str]]:
    for first in range(0, FILLERS, BATCH):
        yield [f"filler:{number}" for number in range(first, first + BATCH)]


def filler(key: str) -> bytes:
    return random.Random(key).randbytes(FILLER_BYTES)


class ToldTally(LoadTally):
    """A tally that keeps the stories of unexpected errors.

    An addition whose coordinator is killed is left open, as nobody can tell whether it was counted; the judge
    of counters knows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stories: list[str] = []
        self.left_open = 0

    def note(self, ended: Any) -> None:
        if isinstance(ended, MergingCall) and ended.outcome == "unknown":
            self.left_open += 1
            return
        before = self.unexpected.total()
        super().note(ended)
        if self.unexpected.total() > before:
            took_s = ended.returned - ended.invoked
            self.stories.append(f"{ended.kind} {ended.key!r} after {took_s:.2f} s: {ended.error}")


class Story:
    """All changes of one run."""

    def __init__(self, cluster: LocalCluster, seed: int, kills: int) -> None:
        self._folder = cluster.folder
        self._name = cluster.name
        self._random = random.Random(seed)
        self._kills = kills
        self._tally = ToldTally()
        self._seed = seed
        self._away: set[str] = set()  # nodes that are not to be killed or started
        self._meter = ReadMeter()
        self.outcomes: list[Outcome] = []
        self.troubles: list[str] = []

    async def run(self, db: AsyncClient) -> None:
        """Make all changes; `outcomes` and `troubles` tell what came of it."""
        await db.keyspaces.create("counted", policy="counter")
        await self._fill(db)
        spaces = Spaces(db.keyspace("default"), db.registers, db.keyspace("counted"))
        load, is_over = ChaosLoad(spaces, self._seed, self._tally), asyncio.Event()
        self._tally.begin(asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as group:
            working = group.create_task(load.work(is_over.is_set))
            metering = group.create_task(self._read_meter(db))
            try:
                for change in CHANGES:
                    await asyncio.sleep(CALM_S)
                    await self._make(change)
            finally:
                is_over.set()
                metering.cancel()
            await working
        self._tally.end()
        self.troubles += moved_too_much(self.outcomes)
        self.troubles += [f"not read in the end: {text}" for text in await load.look()]
        await self._look_at_fillers(db)
        for judged in load.judged():
            print(f"{judged.checker}: {judged.looked_at}: {'held' if judged.has_held else 'BROKEN'}")
            self.troubles += judged.breaches
        self.troubles += self._tally.stories
        errors = dict(self._tally.unexpected)
        print(
            f"{self._tally.requests:,} requests, errors {errors or 'none'}, expected "
            f"{dict(self._tally.expected) or 'none'}, {self._tally.left_open} additions left open, "
            f"worst gap {self._tally.worst_gap_s:.2f} s"
        )

    async def _fill(self, db: AsyncClient) -> None:
        for keys in batches():
            answers = await db.mput({key: filler(key) for key in keys})
            failed = [answer for answer in answers if isinstance(answer, RingmillError)]
            if failed:
                raise failed[0]

    async def _look_at_fillers(self, db: AsyncClient) -> None:
        for keys in batches():
            for key, item in zip(keys, await db.mget(keys), strict=True):
                if isinstance(item, RingmillError) or item is None or item.value != filler(key):
                    self.troubles.append(f"{key} is not what was written first: {str(item)[:200]}")

    async def _read_meter(self, db: AsyncClient) -> None:
        while True:
            with contextlib.suppress(RingmillError):  # no member that was asked is up
                self._meter.note((await db.members.moves()).read_bytes)
            await asyncio.sleep(LOOK_S)

    async def _make(self, change: Change) -> None:
        outcome = Outcome(f"{change.verb} {change.node}", errors_before=len(self._tally.stories))
        self.outcomes.append(outcome)
        if change.loses:
            self._tally.begin_excess()
            self._away.add(change.node)
            await self._lose(change)
        read_before = self._meter.read_bytes
        if not change.is_refill:
            outcome.planned = int((await self._json(*change.line, "--dry-run"))["bytes"])
        begun = time.monotonic()
        disturbing = asyncio.create_task(self._disturb(outcome))
        code, _, err = await self._command(*change.line, "--yes", "-o", "json")
        if code:
            outcome.resumed = err.strip().splitlines()[-1][:200] if err.strip() else f"exit code {code}"
            await disturbing
            await self._go_on(change)
        outcome.seconds = time.monotonic() - begun
        await disturbing
        if change.is_refill:
            self._away.discard(change.node)
        await self._command("cluster", "status", "--wait", "healthy", "--timeout", HEALTHY_S)
        if change.loses:
            self._tally.end_excess(asyncio.get_running_loop().time())
        if not change.is_refill:
            outcome.moved = self._meter.read_bytes - read_before
        await self._judge(change, outcome)
        print(f"{outcome.change}: {json.dumps(asdict(outcome))}", flush=True)
        for story in self._tally.stories[outcome.errors_before :]:
            print(f"  {story}", flush=True)

    async def _judge(self, change: Change, outcome: Outcome) -> None:
        shown = (await self._json("ring", "show"))["nodes"]
        names = {str(each["node"]) for each in shown}
        outcome.fullness = max(each["partitions"] / each["fair"] for each in shown)
        if outcome.fullness > BALANCE_GOAL:
            self.troubles.append(
                f"{outcome.change}: the fullest node has {outcome.fullness:.2f} of its share"
            )
        if (change.node in names) is change.goes or (change.heir or next(iter(names))) not in names:
            self.troubles.append(f"{outcome.change}: the members are {', '.join(sorted(names))}")

    async def _go_on(self, change: Change) -> None:
        """What a user does whose command has failed: the same again, then follow the moves."""
        members = {str(each["node"]) for each in (await self._json("ring", "show"))["nodes"]}
        if change.is_refill or (change.node in members) is change.goes:
            line = (*change.line, change.node) if change.verb == "add" else change.line
            await self._command(*line, "--yes")
        code, _, err = await self._command("cluster", "moves", "--follow")
        if code:
            self.troubles.append(f"{change.verb} {change.node} was not gone on with: {err.strip()[-300:]}")

    async def _disturb(self, outcome: Outcome) -> None:
        for _ in range(self._kills):
            await asyncio.sleep(self._random.uniform(0.2, 2.5))
            running = [
                node
                for node in local_cluster.required_cluster(self._folder).nodes
                if node.id not in self._away and local_cluster.node_state(node) == "running"
            ]
            if not running:
                return
            node = self._random.choice(running)
            local_cluster.signal_node(node, signal.SIGKILL)
            await asyncio.to_thread(processes.wait_gone, node.pid, node.started, KILL_PATIENCE_S)
            await asyncio.sleep(self._random.uniform(0.1, 1.0))
            outcome.killed.append(node.id)
            try:
                await asyncio.to_thread(self._start, node.id)
            except RingmillError as error:
                self._note_start(node.id, error)

    def _start(self, name: str) -> None:
        with local_cluster.exclusively(self._folder):
            cluster = local_cluster.required_cluster(self._folder)
            if any(each.id == name for each in cluster.nodes):
                asyncio.run(start_again(cluster, [cluster.node(name)]))

    def _note_start(self, name: str, error: RingmillError) -> None:
        """A node that was killed before it was a member does not serve, which is no trouble."""
        if "empty" not in error.detail:
            self.troubles.append(f"{name} does not serve again: {error.message}")

    async def _lose(self, change: Change) -> None:
        """Its process and its folder are gone; a replaced node runs on an empty one."""
        node = local_cluster.required_cluster(self._folder).node(change.node)
        local_cluster.signal_node(node, signal.SIGKILL)
        await asyncio.to_thread(processes.wait_gone, node.pid, node.started, KILL_PATIENCE_S)
        if change.is_refill:
            shutil.rmtree(local_cluster.required_cluster(self._folder).data_folder(node))
            await self._command("cluster", "restart", change.node)

    async def _json(self, *line: str) -> Any:
        for _ in range(20):
            code, out, err = await self._command(*line, "-o", "json")
            if not code:
                return json.loads(out)
            await asyncio.sleep(0.5)  # a node that was asked may have been killed
        raise SystemExit(f"ringmill {' '.join(line)}: {err}")

    async def _command(self, *line: str) -> tuple[int, str, str]:
        home = str(Path(self._folder).parent)
        program = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", program, "--cluster", self._name, *line,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "RINGMILL_HOME": home, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        async with asyncio.timeout(COMMAND_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def tell(cluster: LocalCluster, story: Story) -> None:
    endpoints = [node.address for node in cluster.nodes]
    async with connect(endpoints, token=read_token(cluster.folder), timeout=10.0) as db:
        await story.run(db)


def run_and_judge(cluster: LocalCluster, seed: int, kills: int, json_path: str) -> bool:
    story = Story(cluster, seed, kills)
    asyncio.run(tell(cluster, story))
    for trouble in story.troubles:
        print(f"  {trouble}")
    print(f"seed {seed}: verdict {'BROKEN' if story.troubles else 'held'}")
    if json_path:
        result = {"seed": seed, "kills": kills, "changes": list(map(asdict, story.outcomes))}
        Path(json_path).write_text(json.dumps({**result, "troubles": story.troubles}, indent=2) + "\n")
    return not story.troubles


def main() -> int:
    parser = argparse.ArgumentParser(description="Members come and go under a checked load and kills.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, default=2, choices=range(6), help="for each change")
    parser.add_argument("--json", default="", help="file for what came of each change")
    chosen = parser.parse_args()
    return judge_on_cluster(
        "members",
        nodes=3,
        lowest_port=18_000,
        run_and_judge=lambda cluster: run_and_judge(cluster, chosen.seed, chosen.kills, chosen.json),
    )


if __name__ == "__main__":
    sys.exit(main())
