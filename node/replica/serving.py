"""The replica's side of a request: answers peers that apply, read or deliver objects of keys owned here.

Each message is checked against the row of its key before anything is touched, and answered only once the
object has the requested durability (rule W2).  A read is answered only when its result is durable here (rule
G2).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from ringmill.cluster.errors import CorruptData, RingmillError, Stale
from ringmill.cluster.hot.key_heat import KeyHeat, Work
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.ports import Arrival, BatchHandler, Clock, Handler, Incoming
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dead import fresh_part
from ringmill.cluster.versions.digests import RecentDigests
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.object_batch import Applied, ObjectBatch, on_durable, peers_object, wait_durable
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.watermarks import Unsettled, Watermarks
from ringmill.node.replica.reads.cold_reads import ColdReads
from ringmill.node.replica.replica_messages import (
    APPLY,
    APPLY_MANY,
    DELIVER,
    DIGEST,
    READ,
    READ_MANY,
    Apply,
    ApplyAnswer,
    ApplyMany,
    ApplyManyAnswer,
    Deliver,
    DeliverAnswer,
    DigestAnswer,
    HintItem,
    Read,
    ReadAnswer,
    ReadMany,
    ReadManyAnswer,
)
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.replica.stored_key import Place
from ringmill.node.storage.engine import Commit
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["ReplicaServing"]


class ReplicaServing:
    def __init__(
        self,
        *,
        routes: Routes,
        objects: ObjectStore,
        cold_reads: ColdReads,
        watermarks: Watermarks,
        clock: Clock,
        hybrid: HybridClock,
        options: ReplicaOptions,
        heat: KeyHeat,
    ) -> None:
        self._routes = routes
        self._objects = objects
        self._cold_reads = cold_reads
        self._boot_clock = clock
        self._watermarks = watermarks
        self._clock = hybrid
        self._most_bytes = options.most_whole_bytes
        self._digests = RecentDigests()
        self._heat = heat

    def batch_handlers(self) -> Mapping[str, BatchHandler]:
        return {
            APPLY: self.apply_batch,
            APPLY_MANY: self.apply_many_batch,
            READ: self.read_batch,
            DIGEST: self.digest_batch,
            READ_MANY: self.read_many_batch,
        }

    def handlers(self) -> Mapping[str, Handler]:
        return {DELIVER: self.deliver}

    def apply_batch(self, arrivals: Sequence[Arrival]) -> None:
        """Merge what a frame brought, by one batch of the engine; what has to wait first goes to `apply`."""
        batch = ObjectBatch()
        taken: list[_Taken] = []
        for arrival in arrivals:
            try:
                request = Apply.decode(arrival.body)
                merged = self._apply_into(batch, request)
            except RingmillError as error:
                arrival.fail(error)
                continue
            if merged is None:
                arrival.answer_later(self.apply(arrival))
            else:
                taken.append(_Taken(arrival, request.durability, *merged))
        try:
            self._objects.commit(batch)
        except RingmillError as error:
            for one in taken:
                one.arrival.fail(error)
            return
        waiting: dict[tuple[Commit | None, Durability], list[_Taken]] = {}
        for one in taken:
            waiting.setdefault((one.applied.commit, one.durability), []).append(one)
        for (commit, durability), same in waiting.items():
            on_durable(commit, durability, partial(self._acknowledge, same, durability))

    def apply_many_batch(self, arrivals: Sequence[Arrival]) -> None:
        """Merge what messages of many objects brought, by one batch of the engine.  The answer says
        which objects have to wait first or are refused: these are to be sent alone."""
        batch = ObjectBatch()
        messages: list[_TakenMany] = []
        for arrival in arrivals:
            try:
                request = ApplyMany.decode(arrival.body)
            except RingmillError as error:
                arrival.fail(error)
            else:
                messages.append(_TakenMany(arrival, request.durability, self._take_many(batch, request)))
        try:
            self._objects.commit(batch)
        except RingmillError as error:
            for one in messages:
                one.arrival.fail(error)
            return
        for one in messages:
            commits = [each[0].commit for each in one.taken if each is not None]
            newest = max((each for each in commits if each), key=attrgetter("sequence"), default=None)
            on_durable(newest, one.durability, partial(self._acknowledge_many, one))

    def _take_many(self, batch: ObjectBatch, request: ApplyMany) -> list[tuple[Applied, Epoch] | None]:
        epoch, keyspace, _, keys, objects = request
        find = self._finder(keyspace, epoch)
        if find is None or not self._objects.takes_batches:
            return [None] * len(keys)
        taken: list[tuple[Applied, Epoch] | None] = []
        for key, encoded in zip(keys, objects, strict=True):
            try:
                taken.append(self._merge_into(batch, find(key), encoded))
            except RingmillError:
                taken.append(None)
        return taken

    def _finder(self, keyspace: KeyspaceId, epoch: Epoch) -> Callable[[bytes], Route] | None:
        """A function from each key of a message to its route.  None when each key is to be asked for or sent
        alone: this node has to catch up first, or it refuses them and says so to each."""
        try:
            return self._routes.of_message(keyspace, epoch)
        except RingmillError:
            return None

    def _acknowledge_many(self, one: _TakenMany, failure: RingmillError | None) -> None:
        if failure is not None:
            one.arrival.fail(failure)
            return
        row_epochs = [Epoch(0) if each is None else each[1] for each in one.taken]
        one.arrival.answer(ApplyManyAnswer(row_epochs, one.durability, self._clock.now()).encode())

    def _apply_into(self, batch: ObjectBatch, request: Apply) -> tuple[Applied, Epoch] | None:
        """Merge one message into a batch.  Returns what the object became and the epoch of its row; None when
        it has to wait for something first."""
        if not self._objects.takes_batches:
            return None
        route = self._routes.by_id_now(request.keyspace, request.key, request.epoch)
        return None if route is None else self._merge_into(batch, route, request.encoded)

    def _merge_into(self, batch: ObjectBatch, route: Route, encoded: bytes) -> tuple[Applied, Epoch] | None:
        """Merge an object whose route is known into a batch.  Returns what it became and the epoch of its
        row; None when it has to wait for something first."""
        if batch.is_full:
            return None
        try:
            applied = self._objects.apply_into(batch, route.place, encoded)
        except (NotCached, CorruptData, OSError, Unsettled):
            return None
        if self._heat.passes():
            self._note_write(route, applied)
        return applied, route.row.row_epoch

    def _acknowledge(
        self, taken: Sequence[_Taken], durability: Durability, failure: RingmillError | None
    ) -> None:
        """Answer messages that became durable together, or say why they did not."""
        answers: dict[Epoch, bytes] = {}
        for one in taken:
            if failure is not None:
                one.arrival.fail(failure)
                continue
            answer = answers.get(one.row_epoch)
            if answer is None:
                answer = ApplyAnswer(one.row_epoch, durability, self._clock.now()).encode()
                answers[one.row_epoch] = answer
            one.arrival.answer(answer)

    async def apply(self, arrival: Arrival) -> bytes:
        """Merge what one message brought.  This may wait for an epoch, a block or the engine."""
        request = Apply.decode(arrival.body)
        route = await self._routes.by_id(request.keyspace, request.key, request.epoch, sender=arrival.sender)
        applied = await self._merge(route.place, peers_object(request.encoded), of_owner=True)
        if self._heat.passes():
            self._note_write(route, applied)
        self._routes.check_same(route)  # a new owner may have been told what was here before
        await wait_durable(applied.commit, request.durability)
        return ApplyAnswer(route.row.row_epoch, request.durability, self._clock.now()).encode()

    async def _merge(
        self, place: Place, incoming: StoredObject, attempt: str = "", *, of_owner: bool = False
    ) -> Applied:
        """Merge an object in, after the outcome of an attempt is found out if that decides (rule P3)."""
        try:
            return await self._objects.apply(place, incoming, attempt, of_owner=of_owner)
        except Unsettled:
            await self._watermarks.find_out(place.copy.partition)
            return await self._objects.apply(place, incoming, attempt, of_owner=of_owner)

    def read_batch(self, arrivals: Sequence[Arrival]) -> None:
        """Answer reads of a frame with what is in memory; what needs the disk or a newer epoch first goes to
        `read`."""
        self._read_batch(arrivals, sys.maxsize)

    def digest_batch(self, arrivals: Sequence[Arrival]) -> None:
        """Answer reads like `read_batch`, but give the digest of a large object in its place (rule G6)."""
        self._read_batch(arrivals, self._most_bytes)

    def _read_batch(self, arrivals: Sequence[Arrival], most_bytes: int) -> None:
        for arrival in arrivals:
            try:
                self._read_now(arrival, most_bytes)
            except (NotCached, CorruptData, OSError):
                arrival.answer_later(self.read(arrival, most_bytes))
            except RingmillError as error:
                arrival.fail(error)

    def _read_now(self, arrival: Arrival, most_bytes: int) -> None:
        request = Read.decode(arrival.body)
        route = self._routes.by_id_now(request.keyspace, request.key, request.epoch)
        if route is None:
            arrival.answer_later(self.read(arrival, most_bytes))
            return
        encoded, commit = self._objects.read_now(route.place)
        answer = self._answer_of(route, encoded, self._objects.watermark_of(route.place), most_bytes)
        if commit is None:
            arrival.answer(answer)
        else:
            commit.tell_synced(partial(_show, arrival, answer))

    def read_many_batch(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            try:
                self._read_many(arrival, ReadMany.decode(arrival.body))
            except RingmillError as error:
                arrival.fail(error)

    def _read_many(self, arrival: Arrival, request: ReadMany) -> None:
        """Show the small objects that are in memory, once the newest of them is on the disk; what is large,
        elsewhere or to be refused is to be asked for alone."""
        epoch, keyspace, keys = request
        answer = ReadManyAnswer.alone(len(keys))
        row_epochs, objects, watermarks = answer
        find = self._finder(keyspace, epoch)
        if find is None:
            arrival.answer(answer.encode())
            return
        newest: Commit | None = None
        passes, read_now, proven = self._heat.passes, self._objects.read_now, self._watermarks.proven
        for number, key in enumerate(keys):
            try:
                route = find(key)
                encoded, commit = read_now(route.place)
            except (NotCached, OSError, RingmillError):
                continue
            size_bytes = len(encoded)
            if size_bytes > self._most_bytes:
                continue
            if commit is not None and (newest is None or commit.sequence > newest.sequence):
                newest = commit
            if passes():
                self._heat.note(Work.COPY_READ, keyspace, key, route.partition, size_bytes)
            row_epochs[number], objects[number] = route.row.row_epoch, encoded
            watermarks[number] = proven(route.partition)
        if newest is None:
            arrival.answer(answer.encode())
        else:
            newest.tell_synced(partial(_show_many, arrival, answer))

    async def read(self, arrival: Arrival, most_bytes: int = sys.maxsize) -> bytes:
        """Answer one read, which may wait.  An object of more than `most_bytes` is answered by its digest."""
        request = Read.decode(arrival.body)
        route = await self._routes.by_id(request.keyspace, request.key, request.epoch, sender=arrival.sender)
        watermark = self._objects.watermark_of(
            route.place
        )  # a later one is no word about what is read (rule S1)
        left_s = arrival.deadline - self._boot_clock.boottime()
        encoded = await self._cold_reads.read(route.place, left_s)
        self._routes.check_same(route)  # what a former owner has dropped is no absence (rule M6)
        return self._answer_of(route, encoded, watermark, most_bytes)

    def _answer_of(self, route: Route, encoded: bytes, watermark: HybridTime, most_bytes: int) -> bytes:
        self._note_read(route, len(encoded))
        row_epoch = route.row.row_epoch
        if len(encoded) <= most_bytes:
            return ReadAnswer(row_epoch, encoded, watermark).encode()
        return DigestAnswer(row_epoch, self._digests.of(encoded), len(encoded), watermark).encode()

    def _note_read(self, route: Route, size_bytes: int) -> None:
        if self._heat.passes():
            self._heat.note(Work.COPY_READ, route.keyspace.id, route.key, route.partition, size_bytes)

    def _note_write(self, route: Route, applied: Applied) -> None:
        size_bytes = len(applied.encoded)
        self._heat.note(Work.COPY_WRITE, route.keyspace.id, route.key, route.partition, size_bytes)

    async def deliver(self, incoming: Incoming) -> bytes:
        """Accept hints, synced (rule H1); a refused one does not delay the others (rule H5)."""
        request = Deliver.decode(incoming.body)
        taken = [await self._take(item, request, incoming.sender) for item in request.items]
        for outcome in taken:
            if not isinstance(outcome, str):
                await wait_durable(outcome, Durability.SYNCED)
        return DeliverAnswer(tuple(each if isinstance(each, str) else "" for each in taken)).encode()

    async def _take(self, item: HintItem, request: Deliver, sender: NodeId) -> Commit | str | None:
        """The commit to await; None when the object is already on the disk, or its keyspace was dropped (rule
        P6); or why it is refused."""
        try:
            place = await self._routes.place_of(item.keyspace, item.key, request.epoch, sender=sender)
            if place is None:
                sometimes("what is brought of a dropped keyspace is left")
                return None
            applied = await self._take_fresh(place, peers_object(item.encoded), request.attempt)
        except RingmillError as error:
            sometimes("an owner refuses a hint")
            return f"{error.code}: {error.message}"
        return applied.commit

    async def _take_fresh(self, place: Place, incoming: StoredObject, attempt: str) -> Applied:
        """Merge an object in, without its stale siblings if there are others: a hint is struck off when it is
        refused as stale, and a write beside the stale one would be lost with it (rule P3)."""
        try:
            return await self._merge(place, incoming, attempt)
        except Stale:
            present = await self._objects.read(place)
            fresh = fresh_part(present, incoming, self._objects.watermark_of(place))
            if fresh is None:
                raise
            return await self._merge(place, fresh, attempt)


class _Taken(NamedTuple):
    """A message of a batch that was merged in and is acknowledged once it is durable."""

    arrival: Arrival
    durability: Durability
    applied: Applied
    row_epoch: Epoch


class _TakenMany(NamedTuple):
    """A message of many objects that is acknowledged once they are durable; None stands for each object that
    is to be sent alone."""

    arrival: Arrival
    durability: Durability
    taken: list[tuple[Applied, Epoch] | None]


def _show(arrival: Arrival, answer: bytes, failure: RingmillError | None) -> None:
    if failure is None:
        arrival.answer(answer)
    else:
        arrival.fail(failure)


def _show_many(arrival: Arrival, answer: ReadManyAnswer, failure: RingmillError | None) -> None:
    """Answer a read of many keys.  When the log has failed, some objects may be on the disk all the same, so
    each is to be asked for alone."""
    sound = answer if failure is None else ReadManyAnswer.alone(len(answer.encoded))
    arrival.answer(sound.encode())
