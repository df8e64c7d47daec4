"""One run on a local cluster: a checked load beside a schedule of faults, then rest, and a verdict.

The caller holds the cluster's lock.  When the run has ended, in whatever way, it puts the nodes back and
drops the keyspaces.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringmill.client.chaos.chaos_load import SORTS, ChaosLoad, Judged, judged_answers, made_spaces
from ringmill.client.chaos.disturber import Outage, apply_step, put_back
from ringmill.client.chaos.fault_schedule import FaultStep, NodeFault, draw_schedule
from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.checked.seeds import seeded_stream
from ringmill.client.connection import AsyncClient
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, RingmillError, Unavailable

__all__ = ["ChaosOptions", "ChaosRun", "Onlooker", "drop_keyspaces"]

TICK_S: Final = 0.2
HEALTHY_S: Final = 30.0
REST_S: Final = 60.0
POLL_S: Final = 0.1
ASK_S: Final = 2.0
DROP_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What a run is made of; times in seconds.  `tag` makes the names of its keyspaces its own."""

    seed: int
    tag: str
    kinds: tuple[NodeFault, ...]
    at_once: int
    every_s: float
    for_s: float

    def keyspace(self, sort: str) -> str:
        return f"chaos-{self.tag}-{sort}"

    @property
    def keyspaces(self) -> list[str]:
        """The names of all of them, whether they exist or not."""
        return [self.keyspace(sort) for sort in SORTS]


class Onlooker(Protocol):
    """Is told how the run goes on; times are seconds since the start of the load."""

    def tick(self, at_s: float, doing: str, tally: LoadTally) -> None:
        """Called every 0.2 s."""

    def stepped(self, at_s: float, step: FaultStep, tally: LoadTally) -> None:
        """Called at the end of each step."""

    def over(self) -> None:
        """Called when the run has ended, in whatever way."""


@dataclass(slots=True)
class ChaosRun:
    """`go` does all of it.  What has been seen can be asked at any time, also after an interrupt."""

    folder: str
    nodes: Sequence[str]  # those of them that are members are disturbed
    options: ChaosOptions
    onlooker: Onlooker
    spare: int  # owners of a partition that a quorum can do without
    tally: LoadTally = field(default_factory=LoadTally)
    outages: list[Outage] = field(default_factory=list)
    done: list[FaultStep] = field(default_factory=list)
    skipped: int = 0  # steps whose time had passed when the steps before them were over
    lasted_s: float = 0.0
    began: float = 0.0  # on the clock of the tally
    rest_s: float | None = None  # from the last fault until all hints were delivered
    _troubles: list[str] = field(default_factory=list)
    _load: ChaosLoad | None = None
    _doing: str = "no fault yet"

    async def go(self, db: AsyncClient) -> None:
        """Raises Unavailable for a cluster that is not healthy, and whatever making the keyspaces raises."""
        await self._wait_healthy(db)
        members = {member.id for member in db.topology.members}
        self.nodes = [name for name in self.nodes if name in members]
        spaces = await made_spaces(db, self.options.keyspace)
        self._load = ChaosLoad(spaces, self.options.seed, self.tally)
        loop = asyncio.get_running_loop()
        self.began, is_over = loop.time(), asyncio.Event()
        self.tally.begin(self.began)
        try:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick())
                working = group.create_task(self._load.work(is_over.is_set))
                try:
                    await self._disturb()
                finally:
                    self.tally.look_at_gap(loop.time())
                    is_over.set()
                await working
                ticking.cancel()
        finally:
            self.lasted_s = loop.time() - self.began
            self.tally.end()
        await self._rest(db)

    def verdicts(self) -> list[Judged]:
        """What each checker says of what was seen so far; without any load, of nothing."""
        judged = [] if self._load is None else self._load.judged()
        judged.append(judged_answers(self.tally))
        rest = "not reached" if self.rest_s is None else f"all hints delivered after {self.rest_s:.1f} s"
        served = sum(outage.start_s is not None for outage in self.outages)
        looked_at = f"{served} starts of nodes, {rest}"
        return [*judged, Judged("recovery", looked_at, tuple(self._troubles))]

    def witness(self) -> list[dict[str, object]]:
        """The history of the keys whose promise was broken."""
        return [] if self._load is None else [dict(line) for line in self._load.witness()]

    @property
    def faults(self) -> dict[str, int]:
        """How many steps of each kind were done."""
        return dict(Counter(step.kind for step in self.done))

    async def _wait_healthy(self, db: AsyncClient) -> None:
        """Nodes that have started a moment ago compare what they hold: the run waits for that."""
        if unrest := await _last_unrest(db, HEALTHY_S):
            raise Unavailable(
                f"the cluster is not fit to begin a run: {unrest}",
                hint="`ringmill cluster status --wait healthy` waits until it is healthy",
            )

    async def _disturb(self) -> None:
        """The schedule, to its end, or until a node does not come back."""
        options, loop = self.options, asyncio.get_running_loop()
        steps = draw_schedule(
            seeded_stream(options.seed, "faults"),
            self.nodes,
            kinds=options.kinds,
            at_once=options.at_once,
            every_s=options.every_s,
            for_s=options.for_s,
        )
        for step in steps:
            if self._at_s() >= options.for_s:
                self.skipped += 1
                continue
            await asyncio.sleep(self.began + step.at_s - loop.time())
            if not await self._carry_out(step):
                return
        await asyncio.sleep(self.began + options.for_s - loop.time())

    async def _carry_out(self, step: FaultStep) -> bool:
        """Carry out one step of the schedule.  Returns whether all of its nodes came back."""
        self._doing = str(step)
        self.done.append(step)
        if len(step.nodes) > self.spare:
            self.tally.begin_excess()
        try:
            self.outages += await apply_step(self.folder, step, self._at_s())
        except (RingmillError, OSError) as error:  # a disk may be full
            self._troubles.append(f"{step}: {error}")
            return False
        finally:
            if len(step.nodes) > self.spare:
                self.tally.end_excess(asyncio.get_running_loop().time())
        self.onlooker.stepped(self._at_s(), step, self.tally)
        self._doing = "all nodes run"
        return True

    async def _rest(self, db: AsyncClient) -> None:
        """All nodes serve, all hints are delivered, and all keys are read; what is not is a trouble."""
        assert self._load is not None
        loop = asyncio.get_running_loop()
        healed = loop.time()
        try:
            await put_back(self.folder, self.nodes)
        except (RingmillError, OSError) as error:
            self._troubles.append(f"not all nodes serve in the end: {error}")
            return
        unrest = await _last_unrest(db, REST_S)
        if unrest:
            self._troubles.append(f"{unrest} {REST_S:.0f} s after the last fault")
        else:
            self.rest_s = loop.time() - healed
        self._troubles += [f"not read in the end: {text}" for text in await self._load.look()]

    async def _tick(self) -> None:
        while True:
            self.onlooker.tick(self._at_s(), self._doing, self.tally)
            await asyncio.sleep(TICK_S)

    def _at_s(self) -> float:
        return asyncio.get_running_loop().time() - self.began


async def drop_keyspaces(db: AsyncClient, options: ChaosOptions) -> list[str]:
    """Drop the keyspaces of a run.  Returns the names of those that are left, as no quorum answered."""
    left = options.keyspaces
    for _ in range(DROP_TRIES):
        for name in list(left):
            try:
                await db.keyspaces.drop(name)
            except InvalidArgument:  # it does not exist, or not any more
                left.remove(name)
            except (RingmillError, TimeoutError):
                await asyncio.sleep(POLL_S)
            else:
                left.remove(name)
    return left


async def _last_unrest(db: AsyncClient, patience_s: float) -> str:
    """Wait until the cluster is at rest; "" then, and after `patience_s` seconds what keeps it from that."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while (unrest := await _unrest(db)) and loop.time() < until:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(POLL_S)
    return unrest


async def _unrest(db: AsyncClient) -> str:
    """What keeps the cluster from being at rest, "" when nothing does."""
    try:
        status = await db.status(timeout=ASK_S)
    except (Unavailable, DeadlineExceeded) as error:
        return f"nobody tells the status: {error}"
    if status.health != "ok":
        return f"the cluster is {status.health} ({'; '.join(status.reasons)[:300]})"
    return f"{status.hints} hints are not delivered" if status.hints else ""
