"""Deletes that are forgotten: clients put, delete and let expire while owners prove watermarks, under faults.

In the end every key is deleted once more, and all owners have to forget all of them; but not where the disk
of an owner is lost permanently, as then nothing may be forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.storage.storage_errors import NotCached
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.deletes.ablations import DELETE_ABLATIONS
from ringmill.simulator.subjects.deletes.marks import DELETE_MARKS
from ringmill.simulator.subjects.deletes.tunables import tuned
from ringmill.simulator.subjects.objects.mix import Mix
from ringmill.simulator.subjects.objects.subject import ObjectWorkload
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload, with_ttl
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.node_process import NodeProcess
from ringmill.simulator.world.seeds import stream

__all__ = ["DELETES", "DeleteWorkload"]

_MIX: Final = Mix(kinds=(4, 2, 4), pauses_s=(0.0, 0.2, 1.0, 3.0))
_CLOCKS: Final = frozenset({"clock_drift", "clock_jump", "host_clock_step", "skewed_clock"})
_LOOK_S: Final = 0.5
_LAST: Final = 40_000
_TRIES: Final = 20


class DeleteWorkload(ObjectWorkload):
    """A Workload (simulator/subjects/subject.py)."""

    tag = "d-"

    def _draw(self, options: SimulationOptions) -> list[PlannedOperation]:
        self._twists = ()
        self._left: dict[bytes, str] = {}
        plans = draw_workload(
            stream(self._seed, "deletes"),
            operations=options.operations,
            sessions=options.sessions,
            keys=options.keys,
            mix=_MIX,
        )
        named = [
            replace(plan, session=f"d{plan.session}", key=b"d-" + plan.key, value=b"d-" + plan.value)
            for plan in plans
        ]
        return with_ttl(stream(self._seed, "deletes/ttl"), named)

    def _names_of(self, options: SimulationOptions) -> list[str]:
        return [f"ds{number}" for number in range(options.sessions)]

    async def wait_idle(self) -> None:
        await self._delete_all()
        await super().wait_idle()
        if _CLOCKS & set(self._world.trace.faults):
            return  # times of versions and of watermarks may be hours apart
        if self._world.history.lost and any(space.is_sloppy for space in self._world.keyspaces):
            return  # the lost one may have been a fallback
        while self._remembered():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_LOOK_S)

    async def _delete_all(self) -> None:
        process, session = self._client("last", 5.0)
        operations = self._world.history.operations
        # Owners whose clock has jumped refuse it for hours, and then nothing has to be forgotten.
        tries = 1 if _CLOCKS & set(self._world.trace.faults) else _TRIES

        async def work() -> None:
            async with session:
                for at, key in enumerate(self._keys):
                    plan = PlannedOperation(_LAST + at, session.name, "delete", key, b"", "none", "", "", 0.0)
                    for _ in range(tries):
                        if (await session.ask(plan, operations)).is_ok:
                            break
                        await asyncio.sleep(_LOOK_S)

        await self._world.loop.spawn(process, work())

    def _remembered(self) -> bool:
        """Whether some owner still has to forget a key, and may."""
        self._left = {}
        if any(self._world.topology.has_member(NodeId(name)) for name in self._world.history.lost):
            return False  # each member has to vouch (P2)
        for key in self._keys:
            row = self._world.row(key)
            for owner in row.nodes:
                if why := self._holds(self._world.nodes[owner], key):
                    self._left[key] = f"{owner} {why}"
        return bool(self._left)

    def _holds(self, process: NodeProcess, key: bytes) -> str:
        """What a node holds of a key that it might have forgotten; "" when nothing."""
        node = process.node
        if node is None:
            return "is not up"
        place = self._rest.place(key, process.name)
        counts = node.replica.objects.dead.tombstones(place.copy)
        mark = node.replica.watermarks.of(place.copy.partition)
        try:
            encoded, _ = node.replica.objects.read_now(place)
        except (NotCached, RingmillError, OSError):  # it is on the disk, and its copy's count tells
            return f"holds {counts} tombstones" if counts else ""
        if not encoded:
            return ""
        stored = decode_object(encoded)
        if any(sibling.value is not None for sibling in stored.siblings):
            return ""  # written since, beside damage, or concurrently
        held_back = {
            name: each.node.repair.purging.held_back for name, each in self._world.nodes.items() if each.node
        }
        return f"holds {[str(one.dot) for one in stored.siblings]}, proven to {mark.proven}: {held_back}"

    def unrest(self) -> list[Violation]:
        if self._left:
            return [Violation("C21", key, f"not forgotten in time: {why}") for key, why in self._left.items()]
        return super().unrest()

    def figures(self, history: History) -> Figures:
        ours = [operation for operation in history.operations if operation.key.startswith(b"d-")]
        return {
            "ops": len(ours),
            "answered": sum(operation.is_ok for operation in ours),
            "forgotten": sum(one.key.startswith(b"d-") for one in history.purged),
        }


def _describe(figures: Figures) -> str:
    return (
        f"{figures['ops']:,} operations around deletes ({figures['answered']:,} answered), "
        f"{figures['forgotten']:,} objects forgotten"
    )


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"deletes": dict(figures)}


DELETES: Final = Subject(
    name="deletes",
    title="Deletes that are forgotten",
    draw=DeleteWorkload,
    describe=_describe,
    fields=_fields,
    ablations=DELETE_ABLATIONS,
    marks=DELETE_MARKS,
    tuned=tuned,
)
