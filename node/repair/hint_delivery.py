"""Delivers hints to their targets as soon as these can be reached again.

One loop.  In each round every owner that seems up and has hints gets its batches: a bounded number of owners
at a time, and one batch in flight to each.  After a failure an owner gets a pause, which doubles each time.
A hint is deleted only when the owner durably holds what the hint still holds (rule H1).  A hint that the
owner refuses because its own copy of the key is damaged stays, and is tried again while that copy is healed
(rule H5).  One that it refuses as stale has nothing that it lacks (rule P3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import CorruptData, DiskFull, InvalidArgument, RingmillError, Stale, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.overload.crossing import Crossings
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.governor import stretch_towards
from ringmill.cluster.ports import BatchTransport, Clock, Priority
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import merge
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.node_options import HintOptions
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.replica_messages import DELIVER, Deliver, DeliverAnswer, HintItem
from ringmill.node.replica.stored_key import Copy, HintKey, Place

__all__ = ["HintDelivery"]

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
ROUND_S: Final = 0.25
_LONGEST_S: Final = 20.0  # for one message: a target that hangs holds up the others' next round
LONGEST_YIELD_S: Final = 10.0  # to requests, after one batch
READDRESSED_A_ROUND: Final = 512  # of hints for one former owner that is away

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pause:
    """The pause of an owner that failed."""

    until: float
    length_s: float


class HintDelivery:
    """`run` for as long as the node lives.  `delivered` and `refused` count hints since the start."""

    def __init__(
        self,
        node: NodeId,
        *,
        hints: HintStore,
        objects: ObjectStore,
        topology: TopologyView,
        liveness: LivenessView,
        transport: BatchTransport,
        clock: Clock,
        options: HintOptions,
        gate: Gate,
    ) -> None:
        self._gate = gate
        self._node = node
        self._hints = hints
        self._objects = objects
        self._topology = topology
        self._liveness = liveness
        self._transport = transport
        self._clock = clock
        self._options = options
        self._crossings = Crossings(options.call_timeout_s, longest_s=_LONGEST_S)
        self._pauses: dict[NodeId, Pause] = {}
        self._reported: dict[HintKey, None] = {}  # hints already reported in the log as undeliverable
        self._slots = asyncio.Semaphore(options.targets_at_once)
        self.delivered = 0
        self.refused = 0

    async def run(self) -> None:
        """Deliver until cancelled; sleeps while there is nothing to deliver."""
        keeping: asyncio.Task[None] | None = None
        try:
            while True:
                if not self._hints.total:
                    self._hints.kept.clear()
                    await self._hints.kept.wait()
                if keeping is not None and keeping.done():
                    keeping.result()
                    keeping = None
                if keeping is None and self._hints.has_refused:  # it waits for the disk, and others need not
                    keeping = asyncio.create_task(self._hints.keep_refused())
                await self.round()
                await asyncio.sleep(ROUND_S)
        finally:
            if keeping is not None:
                keeping.cancel()

    async def round(self) -> None:
        """Deliver to every owner that has hints, seems up and is not in a pause, until it has all or
        fails.  What waits for one that is away goes to others where it is an owner no longer."""
        async with asyncio.TaskGroup() as group:
            for target in self._hints.counts():
                if self._may_try(target):
                    group.create_task(self._deliver_all(target))
                elif former := self._waiting_at_former(target):
                    group.create_task(self._readdress_all(target, former))

    def _may_try(self, target: NodeId) -> bool:
        return not self._is_left_alone(target) and self._seems_up(target)

    def _is_left_alone(self, target: NodeId) -> bool:
        pause = self._pauses.get(target)
        return pause is not None and self._clock.monotonic() < pause.until

    def _waiting_at_former(self, target: NodeId) -> list[HintKey]:
        topology = self._topology.current
        if topology is None or not self._topology.serving or self._is_left_alone(target):
            return []
        return self._hints.waiting_at_former(target, topology, READDRESSED_A_ROUND)

    async def _readdress_all(self, target: NodeId, keys: Sequence[HintKey]) -> None:
        """Give these hints to present owners.

        They would wait for a node that may never be back, and hold watermarks back meanwhile (rule P2).
        """
        try:
            moved = 0
            failure: CorruptData | DiskFull | None = None
            for key in keys:
                try:
                    moved += await self._readdress(key, target)
                except (CorruptData, DiskFull) as error:
                    failure = error
                    self._hints.stand_behind(target, [key])
            if moved:
                sometimes("hints for a former owner that is away go to the present ones")
            elif failure is not None:
                raise failure
        except RingmillError as error:
            self._leave_alone(target, error)

    def _seems_up(self, target: NodeId) -> bool:
        """True also for a node that is not a member any more: its hints go to the present owners."""
        topology = self._topology.current
        if topology is not None and not topology.has_member(target):
            return True
        return self._liveness.state(target) is MemberState.UP

    async def _deliver_all(self, target: NodeId) -> None:
        """Try every hint of an owner once; one that it refuses does not delay the others."""
        async with self._slots:
            try:
                waiting = self._hints.counts().get(target, 0)
                fenced = 0
                while waiting > 0 and self._seems_up(target):
                    keys = self._hints.waiting_for(target, self._options.batch_items)
                    if not keys:
                        break
                    began = self._clock.monotonic()
                    tried, refused = await self._deliver_batch(target, keys)
                    await self._yield_to_requests(target, self._clock.monotonic() - began)
                    waiting -= tried
                    fenced += refused
                if fenced:
                    raise Unavailable(f"{target} cannot read its own copies of {fenced} keys yet")
            except RingmillError as error:
                self._leave_alone(target, error)
            else:
                self._pauses.pop(target, None)

    async def _yield_to_requests(self, target: NodeId, worked_s: float) -> None:
        """Pause for as long as the load of clients asks for, here and at the target: their requests go first
        (rule O8)."""
        longer = stretch_towards(self._gate.stretch, self._transport.busy().get(target, 0)) - 1.0
        if longer > 0:
            await asyncio.sleep(min(longer * worked_s, LONGEST_YIELD_S))

    async def _deliver_batch(self, target: NodeId, keys: Sequence[HintKey]) -> tuple[int, int]:
        """Send one batch and remove the target from the hints that it accepted.

        Returns how many hints were tried, and how many the target refused for damage of its own copy.  Raises
        what the call raises; Unavailable when everything was refused for another reason; CorruptData or
        DiskFull when no hint of the batch can be read or go to other owners.
        """
        items = await self._load(target, keys)
        if not items:
            return len(keys), 0  # all of it went to other owners
        self._hints.stand_behind(target, [key for key, _ in items])
        request = Deliver(self._topology.serving_topology().epoch, tuple(item for _, item in items)).encode()
        try:
            with self._crossings.within(target, len(request)) as timeout_s:
                body = await self._transport.call(
                    target, DELIVER, request, timeout_s=timeout_s, priority=Priority.REPAIR
                )
        except InvalidArgument as error:  # one too large to cross, alone as it is larger than a batch
            if await self._shrink(items[0][0], target):
                return 1, 0
            self._report_once(target, items[0][0], error)
            raise
        answer = DeliverAnswer.decode(body, len(items))
        refusals = [each for each in answer.refusals if each and not each.startswith(Stale.code)]
        self.refused += len(refusals)
        for (key, item), refusal in zip(items, answer.refusals, strict=True):
            is_held = not refusal or refusal.startswith(Stale.code)
            if is_held and await self._hints.strike_off(key, target, item.encoded):
                sometimes("a hint is delivered")
                self.delivered += 1
                self._reported.pop(key, None)
        fenced = sum(refusal.startswith(CorruptData.code) for refusal in refusals)
        if len(refusals) == len(items) and not fenced:
            raise Unavailable(f"{target} refused all of {len(items)} hints, the first because: {refusals[0]}")
        return len(items), fenced

    async def _load(self, target: NodeId, keys: Sequence[HintKey]) -> list[tuple[HintKey, HintItem]]:
        """The hints to send for these keys, up to the size of a batch; a larger hint goes alone.

        A hint whose target no longer owns the key goes to the present owners instead, one of a keyspace that
        was dropped goes to nobody.
        """
        items: list[tuple[HintKey, HintItem]] = []
        failure: CorruptData | DiskFull | None = None
        size_bytes = moved = 0
        for key in keys:
            topology = self._topology.serving_topology()
            try:
                if await self._readdress(key, target):
                    moved += 1
                    continue
                hint = await self._hints.get(key)
            except (CorruptData, DiskFull) as error:
                failure = error
                self._hints.stand_behind(target, [key])
                continue
            encoded = b"" if hint is None else hint.encoded
            if hint is None or topology.has_dropped(key.keyspace):
                await self._hints.strike_off(key, target, encoded)
                continue
            if items and size_bytes + len(encoded) > self._options.batch_bytes:
                break
            items.append((key, HintItem(key.keyspace, key.key, encoded)))
            size_bytes += len(encoded)
        if failure is not None and not items and not moved:
            raise failure
        return items

    async def _readdress(self, key: HintKey, target: NodeId) -> bool:
        """Give the hint to the present owners of the key if the target is not one of them.

        Returns whether it was given to them.
        """
        owners = self._topology.serving_topology().row(key.partition).nodes
        if target in owners:
            return False
        await self._hints.readdress(key, target, [node for node in owners if node != self._node])
        return True

    async def _shrink(self, key: HintKey, target: NodeId) -> bool:
        """Merge this node's own copy into a hint that is too large to cross: a later write or delete may have
        made the object small, and the target may have acked that one.  Whether the hint is smaller now."""
        topology = self._topology.serving_topology()
        row = topology.row(key.partition)
        if self._node not in row.nodes:
            return False
        hint = await self._hints.get(key)
        own = await self._objects.read(
            Place(Copy(key.partition, row.copy_epoch_of(self._node)), key.keyspace, key.key)
        )
        if hint is None or len(encode_object(merge(decode_object(hint.encoded), own))) >= len(hint.encoded):
            return False
        await self._hints.keep(key, (target,), own)
        return True

    def _report_once(self, target: NodeId, key: HintKey, error: Exception) -> None:
        if key not in self._reported:
            self._reported[key] = None
            _log.warning("a hint for %s is kept, but cannot be delivered: %s", target, error)

    def _leave_alone(self, target: NodeId, error: Exception) -> None:
        sometimes("hints for an owner wait longer")
        former = self._pauses.get(target)
        length_s = FIRST_PAUSE_S if former is None else min(LONGEST_PAUSE_S, 2 * former.length_s)
        self._pauses[target] = Pause(self._clock.monotonic() + length_s, length_s)
        _log.info("hints for %s wait %.2f s more: %s", target, length_s, error)
