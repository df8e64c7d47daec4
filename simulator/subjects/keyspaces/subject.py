"""Keyspaces: clients that make, change and drop them under faults, and what every node holds in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final

from ringmill.client.routing.directory import Directory
from ringmill.cluster.ring.topology import Topology
from ringmill.simulator.checkers.promptness import late_calls
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.keyspaces.ablations import EPOCH_ABLATIONS
from ringmill.simulator.subjects.keyspaces.checkers import (
    check_documents,
    check_newest,
    check_rivals,
    check_stolen,
)
from ringmill.simulator.subjects.keyspaces.faults import KINDS
from ringmill.simulator.subjects.keyspaces.marks import KEYSPACE_MARKS
from ringmill.simulator.subjects.keyspaces.record import Adopted, KeyspaceCall
from ringmill.simulator.subjects.keyspaces.rivals import form_at_once
from ringmill.simulator.subjects.keyspaces.sessions import KeyspaceSession, PlannedChange, draw_changes
from ringmill.simulator.subjects.keyspaces.stolen_tokens import StolenToken
from ringmill.simulator.subjects.keyspaces.tenants import Tenants
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.working_off import client_in, insist_on, work_off
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["KEYSPACES", "KeyspaceWorkload"]

_CALLS: Final = 48
_SESSIONS: Final = 4
_FLIGHT_S: Final = 6.0  # the longest a change may still be under way at its node
_LOOK_EVERY_S: Final = 0.25
_VOTER_DOWN_S: Final = 10.0  # votes that pass on after minutes are not waited for
_CORE, _LAST = "k-core", "k-last"
_OF_DOCUMENTS: Final = ("epochs", "votes passed on", "rivals", "tokens shown again", "tenants")
_RIVALS_SHARE: Final = 0.25  # of the runs, in which two operators form a cluster of new nodes in the end
_STOLEN_SHARE: Final = 0.25  # of the runs, in which a host joins new nodes in the end and its token is stolen


class KeyspaceWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        draws = stream(seed, "keyspaces")
        self.plans = draw_changes(
            draws, calls=_CALLS, sessions=_SESSIONS, pause_s=draws.choice((0.02, 0.2, 0.4))
        )
        self._names = [f"k{number}" for number in range(_SESSIONS)]
        self.calls: list[KeyspaceCall] = []
        self.adopted: list[Adopted] = []
        self._held: dict[str, int] = {}
        self._rivals: dict[str, str] | None = None
        self._stolen: StolenToken | None = None
        self._tenants = Tenants(seed, sorted({plan.name for plan in self.plans}))

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [f"{plan.index:4d}  {plan.session} {plan.kind} {plan.name}" for plan in self.plans]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [*self._names, *self._tenants.names, _CORE, _LAST]
        world.on_topology.append(self._note)

    def _note(self, name: str, topology: Topology) -> None:
        self.adopted.append(Adopted(name, self._world.loop.time(), topology))

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*map(self._work, self._names), *self._tenants.act(self._world)]

    def rests_on(self) -> Sequence[Collection[str]]:
        return [self._world.topology.voter_nodes]

    async def progress(self) -> None:
        rest = self._world.history.core.rest
        core = [node.address for name, node in self._world.nodes.items() if name not in rest]
        plans = [
            PlannedChange(10_000, _CORE, "create", "core", 0.0),
            PlannedChange(10_001, _CORE, "list", "", 0.0),
        ]
        await self._ask(_CORE, plans, 5.0, core, Within, is_of_core=True)

    async def wait_idle(self) -> None:
        await asyncio.sleep(_FLIGHT_S)
        while len(set(self._epochs().values())) > 1 or self._dead_votes():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK_EVERY_S)
        while self._tenants.story(self._world):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK_EVERY_S)

    def _dead_votes(self) -> Sequence[str]:
        """Voters that are lost, while a member is up that could vote in their place (rule T3)."""
        topology = self._world.topology
        passes = self._world.tunables.node.membership.voter_down_s <= _VOTER_DOWN_S
        spare = any(each.name not in topology.voter_nodes for each in self._world.living())
        lost = [node for node in topology.voter_nodes if node in self._world.history.lost]
        gone = [node for node in lost if not self._world.nodes[node].serves]  # a copy beside it is no loss
        return gone if passes and spare else []

    def _epochs(self) -> dict[str, int]:
        return {node.name: node.node.membership.topology.epoch for node in self._world.living() if node.node}

    async def read_final_state(self) -> None:
        plans = [
            PlannedChange(20_000, _LAST, "create", "last", 0.0),
            PlannedChange(20_001, _LAST, "list", "", 0.0),
        ]
        process, session = self._session(_LAST, 5.0, list(self._world.addresses), Directory)
        await insist_on(
            self._world, process, session, plans, self.calls, lambda call: call.outcome in ("ok", "conflict")
        )
        await self.wait_idle()
        self._held = self._epochs()
        await self._tenants.look(self._world)
        if stream(self._seed, "keyspaces/rivals").random() < _RIVALS_SHARE:
            self._rivals = await form_at_once(self._world)
        if stream(self._seed, "keyspaces/stolen").random() < _STOLEN_SHARE:
            self._stolen = StolenToken(self._world)
            await self._stolen.run()

    def unrest(self) -> list[Violation]:
        if dead := self._dead_votes():
            return [Violation("C18", b"", f"{', '.join(dead)} is gone, and votes long after healing")]
        if len(set(self._epochs().values())) == 1 and (left := self._tenants.story(self._world)):
            return [Violation("C24", b"", f"dropped keyspaces are not removed long after healing: {left}")]
        held = ", ".join(f"{name}: {epoch}" for name, epoch in sorted(self._epochs().items()))
        return [Violation("C18", b"", f"not all nodes hold one document long after healing ({held})")]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        found = [*check_documents(self.adopted, self.calls), *check_newest(self._held, self.adopted)]
        found += self._tenants.check()
        for call, story in late_calls(self.calls):
            found.append(Violation("C22", call.name.encode(), f"{call.kind} of a keyspace {story}"))
        if self._rivals is not None:
            found += check_rivals(self._rivals)
        return found if self._stolen is None else [*found, *check_stolen(self._stolen.let_in)]

    def figures(self, history: History) -> Figures:
        calls = Counter(f"{call.kind} {call.outcome}" for call in self.calls)
        newest = max((each.topology.epoch for each in self.adopted), default=0)
        voters = {int(each.topology.epoch): each.topology.voter_nodes for each in self.adopted}
        passed_on = sum(voters[epoch] != voters[epoch - 1] for epoch in voters if epoch - 1 in voters)
        return {
            **calls,
            "epochs": newest,
            "tenants": self._tenants.answered,
            "votes passed on": passed_on,
            "rivals": self._rivals is not None,
            "tokens shown again": 0 if self._stolen is None else self._stolen.tries,
        }

    async def _work(self, name: str) -> None:
        timeout_s = stream(self._seed, f"client/{name}").choice((0.3, 1.0, 5.0))
        plans = [plan for plan in self.plans if plan.session == name]
        await self._ask(name, plans, timeout_s, list(self._world.addresses), Directory)

    async def _ask(
        self,
        name: str,
        plans: Sequence[PlannedChange],
        timeout_s: float,
        addresses: Sequence[str],
        directory: type[Directory],
        *,
        is_of_core: bool = False,
    ) -> None:
        process, session = self._session(name, timeout_s, addresses, directory)
        await work_off(self._world, process, session, plans, self.calls, is_of_core=is_of_core)

    def _session(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, KeyspaceSession]:
        order = stream(self._seed, f"client/{name}/order").sample(list(addresses), len(addresses))
        return client_in(self._world, KeyspaceSession, name, self._seed, timeout_s, order, directory)


def _describe(figures: Figures) -> str:
    asked = {name: count for name, count in sorted(figures.items()) if name not in _OF_DOCUMENTS}
    ends = ", ".join(f"{count:,} {name}" for name, count in asked.items())
    epochs, passed_on, rivals, shown, puts = (figures.get(name, 0) for name in _OF_DOCUMENTS)
    summary = f"{sum(asked.values()):,} calls about keyspaces ({ends or 'none'}), {epochs:,} epochs"
    summary += f", {puts:,} puts to keyspaces that come and go"
    summary += f", {passed_on:,} votes passed on" if passed_on else ""
    summary += f", {rivals:,} clusters formed twice at once" if rivals else ""
    return f"{summary}, join tokens shown again {shown:,} times" if shown else summary


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"keyspaces": dict(sorted(figures.items()))}


KEYSPACES: Final = Subject(
    name="keyspaces",
    title="Topology epochs",
    draw=KeyspaceWorkload,
    describe=_describe,
    fields=_fields,
    ablations=EPOCH_ABLATIONS,
    marks=KEYSPACE_MARKS,
    faults=KINDS,
)
