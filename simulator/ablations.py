"""Switches off one safeguard at a time, so that each has to earn its keep.

Each ablation names the rule that it breaks and the code that it bends, from outside and for the time of a
run only: production code has no switches.  With any of them the checkers must find a violation within 1,000
seeds; how many it took is in docs/testing.md, written by scripts/ablations.py.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import ringmill.client.routing.router
import ringmill.node.replica.objects
import ringmill.node.replica.serving
import ringmill.node.requests.write
import ringmill.node.storage.engine
import ringmill.node.storage.recovery.opening
import ringmill.simulator.healing_ablations
from ringmill.client.routing.retries import Next, next_step
from ringmill.cluster.errors import CorruptData, InvalidArgument, QuorumNotReached
from ringmill.cluster.ids import Start
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.quorum.receipt import Receipt
from ringmill.cluster.quorum.tally import ReadTally, WriteTally
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.versions.context import Context
from ringmill.cluster.versions.dots import Dot, actor_of
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import StoredObject, merge
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.hints import HintStore, decode_hint
from ringmill.node.replica.objects import ObjectStore
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.replica.stored_key import copy_prefix, prefix_end
from ringmill.node.requests.flight import Flight
from ringmill.node.requests.read import Reader
from ringmill.node.requests.write import Writer
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.recovery.opening import Opened
from ringmill.simulator.bending import Ablation, bent
from ringmill.simulator.healing_ablations import HEALING_ABLATIONS
from ringmill.simulator.identity_ablations import IDENTITY_ABLATIONS
from ringmill.simulator.job_ablations import JOB_ABLATIONS
from ringmill.simulator.options import RunOptions
from ringmill.simulator.run_files import RunAppendFile, RunFiles
from ringmill.simulator.wire_ablations import WIRE_ABLATIONS

__all__ = ["ABLATIONS", "ablation_named", "switched_off"]


def ablation_named(name: str) -> Ablation:
    """Raises InvalidArgument listing what there is."""
    every = (*ABLATIONS, *IDENTITY_ABLATIONS, *WIRE_ABLATIONS, *HEALING_ABLATIONS, *JOB_ABLATIONS)
    found = next((each for each in every if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in every)
        raise InvalidArgument(f"there is no safeguard {name!r}; there are: {known}")
    return found


@contextmanager
def switched_off(names: Sequence[str]) -> Iterator[None]:
    """While inside, the named safeguards do not exist.  Raises InvalidArgument."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(ablation_named(name).off())
        yield


# Durability


async def _hold_nothing(commit: object, durability: object) -> None:
    return


def _sync_before_ack() -> AbstractContextManager[None]:
    modules = (ringmill.node.replica.serving, ringmill.node.requests.write)
    return bent(*((module, "hold", _hold_nothing) for module in modules))


def _folder_sync() -> AbstractContextManager[None]:
    return bent((RunFiles, "fsync_dir", lambda files, path: None))


def _cut_tail() -> AbstractContextManager[None]:
    return bent((ringmill.node.storage.recovery.opening, "cut_tail", lambda files, folder, recovered: None))


def _recovered_synced() -> AbstractContextManager[None]:
    return bent((ringmill.node.storage.recovery.opening, "_settle", lambda files, folder, name: None))


def _recovered_rewritten() -> AbstractContextManager[None]:
    """A start syncs what it has read, and believes the system that all of it is on the disk then."""

    def sync(files: RunFiles, path: str) -> None:
        files.open_append(path).sync()

    return bent((RunFiles, "rewrite", sync))


def _failed_sync_is_final() -> AbstractContextManager[None]:
    """A sync that failed is tried again, and what waited for it is acknowledged when that works."""
    append_and_sync = RunAppendFile.append_and_sync

    async def insist(file: RunAppendFile, data: bytes) -> None:
        size = file.size + len(data)
        try:
            await append_and_sync(file, data)
        except OSError as error:
            if error.errno != errno.EIO or file.size != size:
                raise  # the append has failed
            await insist(file, b"")

    return bent((RunAppendFile, "append_and_sync", insist))


def _corruption_is_an_error() -> AbstractContextManager[None]:
    get, get_nowait = Engine.get, Engine.get_nowait

    async def absent(engine: Engine, key: bytes, **options: Any) -> bytes | None:
        try:
            return await get(engine, key, **options)
        except CorruptData:
            return None

    def absent_nowait(engine: Engine, key: bytes) -> bytes | None:
        try:
            return get_nowait(engine, key)
        except CorruptData:
            return None

    return bent((Engine, "get", absent), (Engine, "get_nowait", absent_nowait))


def _file_ids_reserved() -> AbstractContextManager[None]:
    """A start goes on above the highest number that it finds, whatever the manifest has reserved."""

    def open_by_names(files: FileSystem, folder: str) -> Opened:
        found = [parsed.file_id for name in files.list(folder) if (parsed := parse_name(name))]
        opened = ringmill.node.storage.recovery.opening.open_folder(files, folder)
        opened.next_id = max(found, default=0) + 1
        return opened

    return bent((ringmill.node.storage.engine, "open_folder", open_by_names))


# Identity


def _disk_id() -> AbstractContextManager[None]:
    init = TopologyAgent.init

    async def init_anyhow(agent: TopologyAgent, document: bytes) -> Topology:
        named = Topology.decode(document).member(agent._seat.node)
        agent._seat = Owner(named.id, named.disk)
        return await init(agent, document)

    return bent((TopologyAgent, "init", init_anyhow))


def _fresh_actor() -> AbstractContextManager[None]:
    """Every start goes on with one actor, counting from what the stored objects say."""
    write, next_dot = ObjectStore.write, CopyActors.next_dot

    async def write_as_before(store: ObjectStore, place: Any, *rest: Any) -> Any:
        actors = store._actors
        if place.copy not in actors._counts:
            actor = actor_of(actors._node, _ONE_START)
            prefix = copy_prefix(place.copy)
            scan: AsyncIterator[tuple[bytes, bytes]] = store._engine.scan(prefix, prefix_end(prefix))
            counts = [decode_object(encoded).context.counter(actor) async for _, encoded in scan]
            actors._counts.setdefault(place.copy, max(counts, default=0))
        return await write(store, place, *rest)

    def continued(actors: CopyActors, copy: Any) -> Dot:
        return Dot(actor_of(actors._node, _ONE_START), next_dot(actors, copy).counter)

    return bent((ObjectStore, "write", write_as_before), (CopyActors, "next_dot", continued))


# Quorums


def _w_acks() -> AbstractContextManager[None]:
    return bent((WriteTally, "is_met", property(lambda tally: len(tally.acks) >= max(1, tally.need - 1))))


def _r_answers() -> AbstractContextManager[None]:
    return bent((ReadTally, "is_met", property(lambda tally: len(tally.answered) >= max(1, tally.need - 1))))


def _write_back() -> AbstractContextManager[None]:
    async def repair_nothing(reader: Reader, *rest: Any) -> int:
        return 0

    return bent((Reader, "_repair", repair_nothing))


def _synced_reads() -> AbstractContextManager[None]:
    async def read(store: ObjectStore, place: Any) -> tuple[StoredObject, bytes]:
        stored = await store.read(place)
        return stored, b"" if stored.is_absent else encode_object(stored)

    return bent((ObjectStore, "read_synced", read))


def _unknown_is_told() -> AbstractContextManager[None]:
    lost = Flight.lost

    def lost_for_certain(flight: Flight, verb: str) -> QuorumNotReached:
        error = lost(flight, verb)
        error.outcome = "failed"
        return error

    return bent((Flight, "lost", lost_for_certain))


def _no_blind_retry() -> AbstractContextManager[None]:
    """A client sends a write again whose outcome it does not know."""

    def step(error: Any, *, is_write: bool) -> Next:
        known = next_step(error, is_write=is_write)
        return Next.TURN if is_write and error.outcome != "failed" else known

    return bent((ringmill.client.routing.router, "next_step", step))


def _holders_by_default_r() -> AbstractContextManager[None]:
    """A read of r answers counts on later reads of as many: N - r + 1 in place of N - R + 1."""
    repair = Reader._repair

    async def repair_less(reader: Reader, route: Any, collected: Any, *rest: Any) -> int:
        keyspace = replace(route.keyspace, r=len(collected.answers))
        return await repair(reader, replace(route, keyspace=keyspace), collected, *rest)

    return bent((Reader, "_repair", repair_less))


def _known_operation() -> AbstractContextManager[None]:
    return bent((StoredObject, "find", lambda stored, operation: None))


# Versions


def _last(stored: StoredObject) -> StoredObject:
    newest = max(stored.siblings, key=lambda sibling: (sibling.time, sibling.dot), default=None)
    return stored if newest is None else replace(stored, siblings=(newest,))


def _siblings() -> AbstractContextManager[None]:
    def last_writer_wins(ours: StoredObject, theirs: StoredObject) -> StoredObject:
        return _last(merge(ours, theirs))

    return bent((ringmill.node.replica.objects, "merge", last_writer_wins))


def _merge() -> AbstractContextManager[None]:
    return bent((ringmill.node.replica.objects, "merge", lambda ours, theirs: theirs))


def _honest_receipt() -> AbstractContextManager[None]:
    receipt = Flight.receipt

    def with_context(flight: Flight, *, default_w: int) -> Receipt:
        told = receipt(flight, default_w=default_w)
        stored, sibling = flight.written.applied.stored, flight.written.sibling
        return replace(told, context=flight._token(Context(stored.context, sibling.time)))

    return bent((Flight, "receipt", with_context))


def _tombstones() -> AbstractContextManager[None]:
    """What holds only deletes is dropped at once."""
    store = ObjectStore._store

    def forget(objects: ObjectStore, place: Any, before: Any, old: Any, after: Any, *rest: Any) -> Any:
        if after.siblings and all(sibling.value is None for sibling in after.siblings):
            after = StoredObject()
        return store(objects, place, before, old, after, *rest)

    return bent((ObjectStore, "_store", forget))


# Hints


def _hints_kept() -> AbstractContextManager[None]:
    async def keep_none(writer: Writer, flight: Any, target: Any) -> str:
        return ""

    return bent((Writer, "_keep_hint", keep_none))


def _refused_hints_kept() -> AbstractContextManager[None]:
    """What a full disk refuses to keep is forgotten."""

    async def keep_none(hints: HintStore) -> None:
        hints._refused.clear()

    return bent((HintStore, "keep_refused", keep_none))


def _hint_compare() -> AbstractContextManager[None]:
    strike_off = HintStore.strike_off

    async def strike_off_whatever(hints: HintStore, key: Any, target: Any, delivered: bytes) -> bool:
        present = await hints.get(key)
        return await strike_off(hints, key, target, delivered if present is None else present.encoded)

    return bent((HintStore, "strike_off", strike_off_whatever))


def _hint_merge() -> AbstractContextManager[None]:
    keep = HintStore._keep

    def keep_the_first(hints: HintStore, key: Any, targets: Any, stored: Any, value: bytes | None) -> Any:
        present = None if value is None else decode_hint(value)
        return keep(hints, key, targets, decode_object(present.encoded) if present else stored, value)

    return bent((HintStore, "_keep", keep_the_first))


def _hint_synced() -> AbstractContextManager[None]:
    """Nor are owners compared after the crash, which would find what was forgotten."""
    take = ReplicaServing._take

    async def take_unsynced(serving: ReplicaServing, *rest: Any) -> str | None:
        outcome = await take(serving, *rest)
        return outcome if isinstance(outcome, str) else None

    return bent(
        (ReplicaServing, "_take", take_unsynced), *ringmill.simulator.healing_ablations.without_comparing()
    )


_ONE_START: Final = Start(1, "")
_ROT: Final = RunOptions(faults=("bit_flip",))
_FULL: Final = RunOptions(nodes=3, faults=("disk_full", "split_one"))
_TWICE: Final = RunOptions(keys=2, sessions=12, faults=("duplicate",), repeats_forwards=True)
_POWER: Final = RunOptions(keys=2, faults=("crash_all", "disk_slow"))
_CRASHES: Final = RunOptions(faults=("crash", "crash_all"))
_CRASHES_OF_THREE: Final = RunOptions(nodes=3, keys=2, faults=("crash", "crash_all"))
_CRASHES_OF_MANY_KEYS: Final = RunOptions(nodes=3, keys=24, faults=("crash",))
_LATE: Final = RunOptions(nodes=3, keys=24, operations=200, sessions=24, faults=("loss", "slow_link"))
_ERRORS: Final = RunOptions(nodes=3, keys=2, faults=("disk_error", "crash_all"))
_MIDST: Final = RunOptions(faults=("crash_child",))

ABLATIONS: Final = (
    Ablation("sync-before-ack", "an ack at `sync` waits for the disk", _sync_before_ack),
    Ablation("folder-sync", "a file's name is made durable before the file counts", _folder_sync),
    Ablation(
        "recovered-synced", "what a start reads from its logs is synced before it counts", _recovered_synced
    ),
    Ablation(
        "recovered-rewritten",
        "what a start reads is written again, as a failed sync may have left it in the page cache only",
        _recovered_rewritten,
        _ERRORS,
    ),
    Ablation(
        "failed-sync-is-final",
        "a sync that failed is never tried again",
        _failed_sync_is_final,
        _ERRORS,
    ),
    Ablation("cut-tail", "the torn end of a log is cut off before anything is appended", _cut_tail, _CRASHES),
    Ablation(
        "corruption-is-an-error",
        "a damaged block is an error, never an absence",
        _corruption_is_an_error,
        _ROT,
    ),
    Ablation("file-ids-reserved", "a file's number is never given out again", _file_ids_reserved, _MIDST),
    Ablation("disk-id", "a node on another disk than the named one serves nothing", _disk_id),
    Ablation("fresh-actor", "every start has actors of its own", _fresh_actor, _CRASHES_OF_THREE),
    Ablation("w-acks", "a write is acknowledged at w owners, not at w - 1", _w_acks),
    Ablation("r-answers", "a read is answered by r owners, not by r - 1", _r_answers),
    Ablation("write-back", "N - R + 1 owners hold what a read shows before it is shown", _write_back),
    Ablation("synced-reads", "a replica shows only what it cannot forget", _synced_reads, _POWER),
    Ablation("holders-by-default-r", "N - R + 1 holders, whatever r a read asked for", _holders_by_default_r),
    Ablation("known-operation", "an operation that is there is not written again", _known_operation, _TWICE),
    Ablation("unknown-is-told", "a lost quorum after sending is unknown, never failed", _unknown_is_told),
    Ablation("no-blind-retry", "a write whose outcome is unknown is not sent again", _no_blind_retry),
    Ablation("siblings", "concurrent writes are kept beside each other, not the last one alone", _siblings),
    Ablation("merge", "a replica merges what it is sent with what it holds", _merge),
    Ablation("honest-receipt", "a receipt has a context only when no other sibling is left", _honest_receipt),
    Ablation("tombstones", "a delete is remembered", _tombstones),
    Ablation("hints-kept", "an owner that did not ack gets a hint", _hints_kept),
    Ablation(
        "refused-hints-kept", "a hint that a full disk refused is kept later", _refused_hints_kept, _FULL
    ),
    Ablation(
        "hint-compare", "a hint is struck off only if it still holds what was delivered", _hint_compare, _LATE
    ),
    Ablation("hint-merge", "a newer write is merged into the hint of its key", _hint_merge),
    Ablation(
        "hint-synced",
        "a hint goes only when its target has it on the disk",
        _hint_synced,
        _CRASHES_OF_MANY_KEYS,
    ),
)
