"""Looks at a cluster again and again, decides, and has nodes come and go; each decision has its reason.

A change is not waited for: while partitions move the loop looks on and decides to stay, and the change is
settled at the first look at which nothing moves.  So a run that is interrupted leaves a plan that goes on,
and the next run stops what has left meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from ringmill.client.administration.member_plans import check_made
from ringmill.client.scaling.launcher import Launcher
from ringmill.client.scaling.measures import Measure
from ringmill.client.scaling.scaled_cluster import Look, ScaledCluster
from ringmill.client.scaling.scaling_policy import Decision, Observation, ScalingRules, decide, recent
from ringmill.cluster.errors import RingmillError

__all__ = ["Autoscaler", "ScalingLog"]

Figures = Mapping[str, float | None]
_FAILED: Final = "failed"


class ScalingLog(Protocol):
    """Takes what is decided and done."""

    def decided(self, seen: Observation, figures: Figures, decision: Decision) -> None:
        """Called at each look; `figures` are in the unit of the measure."""

    def did(self, what: str, node: str, text: str) -> None:
        """`what` is started, joins, leaves, joined, left, stopped, or failed; `text` is for people."""


@dataclass(slots=True)
class _Change:
    """A change of the members that was asked for and is not over."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(slots=True)
class Autoscaler:
    """`step` is one look, one decision, and what follows from it.  With `is_dry` nothing is changed."""

    cluster: ScaledCluster
    launcher: Launcher
    measure: Measure
    rules: ScalingRules
    log: ScalingLog
    is_dry: bool = False
    _seen: list[Observation] = field(default_factory=list)
    _changed_at_s: float | None = None
    _change: _Change | None = None

    @property
    def under_way(self) -> str:
        """The change that was asked for and is not over, in words; "" when there is none."""
        if self._change is None:
            return ""
        return ", ".join(
            [f"{node} joins" for node in self._change.add]
            + [f"{node} leaves" for node in self._change.remove]
        )

    async def run(self, every_s: float, for_s: float | None, stopping: asyncio.Event) -> None:
        """A step every `every_s` seconds, for `for_s` seconds or until `stopping` is set."""
        loop = asyncio.get_running_loop()
        until = None if for_s is None else loop.time() + for_s
        due = loop.time()
        while not stopping.is_set() and (until is None or due <= until):
            await self.step(loop.time())
            due = max(due + every_s, loop.time())
            wait_s = due - loop.time() if until is None else min(due, until) - loop.time()
            try:
                await asyncio.wait_for(stopping.wait(), max(0.0, wait_s))
            except TimeoutError:
                continue

    async def step(self, now_s: float) -> None:
        """Look, decide and act at `now_s`.  What fails is told to the log; a later step tries again."""
        figures: Figures = {}
        try:
            look = await self.cluster.look()
            if not look.blocker and not self.is_dry and await self._finish_change(look, now_s):
                look = await self.cluster.look()
            figures = await self.measure.read(look)
            seen = self._observed(look, figures, now_s)
        except RingmillError as error:
            seen = Observation(now_s, {}, 0, blocker=f"the cluster is not seen: {error.message}")
        self._seen = recent([*self._seen, seen], self.rules)
        decision = decide(self._seen, self.rules, self._changed_at_s)
        if decision.verb == "remove":
            seen = self._seen[-1] = await self._cheapest_first(seen, look)
            decision = decide(self._seen, self.rules, self._changed_at_s)
        self.log.decided(seen, figures, decision)
        if decision.verb == "stay":
            return
        self._changed_at_s = now_s
        if not self.is_dry:
            await self._carry_out(decision)

    def _observed(self, look: Look, figures: Figures, now_s: float) -> Observation:
        unknown = [node for node in look.states if figures.get(node) is None]
        known = {node: figure for node in look.states if (figure := figures.get(node)) is not None}
        blocker = look.blocker or (
            f"{self.measure.name} of {', '.join(unknown)} is not known yet" if unknown else ""
        )
        launched = [node for node in reversed(self.launcher.launched()) if node in look.states]
        return Observation(
            at_s=now_s,
            pressures={node: figure / self.measure.target for node, figure in known.items()},
            owners=look.topology.n,
            removable=tuple(launched),
            blocker=blocker,
            keeps=look.keeps,
        )

    async def _cheapest_first(self, seen: Observation, look: Look) -> Observation:
        """With those first whose removal moves the fewest bytes, then the newest; the coordinator last.

        Those whose removal cannot be done now are left out.
        """
        costs: dict[str, int] = {}
        keeps = seen.keeps
        for node in seen.removable:
            try:
                costs[node] = await self.cluster.removal_bytes(node)
            except RingmillError as error:
                keeps = keeps or f"{node} cannot leave: {error.message}"
        ordered = sorted(costs, key=lambda node: (node == look.status.coordinator, costs[node]))
        return replace(seen, removable=tuple(ordered), keeps="" if ordered else keeps)

    async def _carry_out(self, decision: Decision) -> None:
        try:
            await (self._add() if decision.verb == "add" else self._remove(decision.node))
        except RingmillError as error:
            self.log.did(_FAILED, decision.node, f"{decision.verb}: {error.message}")

    async def _add(self) -> None:
        fresh = await self.launcher.start()
        self.log.did("started", fresh.id, f"listens at {fresh.address}")
        self._change = _Change(add=(fresh.id,))
        try:
            epoch = await self.cluster.add(fresh.id, fresh.address)
        except RingmillError as error:
            if error.outcome == _FAILED:
                self._change = None
                await self.launcher.stop(fresh.id)
            raise
        self.log.did("joins", fresh.id, f"decided in epoch {epoch}; partitions move now")

    async def _remove(self, node: str) -> None:
        self._change = _Change(remove=(node,))
        try:
            epoch = await self.cluster.remove(node)
        except RingmillError as error:
            if error.outcome == _FAILED:
                self._change = None
            raise
        self.log.did("leaves", node, f"decided in epoch {epoch}; partitions move now")

    async def _finish_change(self, look: Look, now_s: float) -> bool:
        """Now that nothing moves: log what came of the change, and stop nodes that are not members.

        Returns whether there was anything to do, so that the members may be others than at this look.
        """
        if self._change is None and all(node in look.states for node in self.launcher.launched()):
            return False
        await self.cluster.wait_for_majority()
        states = (await self.cluster.look()).states
        change, self._change = self._change, None
        if change is not None:
            self._changed_at_s = now_s
            self._tell(change, states)
        for node in [node for node in self.launcher.launched() if node not in states]:
            try:
                await self.launcher.stop(node)
            except RingmillError as error:
                self.log.did(_FAILED, node, f"it is not a member, and was not stopped: {error.message}")
            else:
                self.log.did("stopped", node, "it is not a member; its folder stays")
        return True

    def _tell(self, change: _Change, states: Mapping[str, str]) -> None:
        try:
            check_made(states, change.add, change.remove)
        except RingmillError as error:
            self.log.did(_FAILED, (*change.add, *change.remove)[0], error.message)
            return
        for node in change.add:
            self.log.did("joined", node, "nothing moves any more")
        for node in change.remove:
            self.log.did("left", node, "nothing moves any more")
