"""Safeguards of counting: acks, answers, repairs, and what a client is told of a lost quorum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import ringmill.client.kv
import ringmill.cluster.versions.objects
import ringmill.node.requests.read
from ringmill.client.routing.attempts import attempt_message
from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.tally import ReadTally, WriteTally
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.cluster.versions.replaced import remember, union
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.owners.read_in_flight import OwnerObject, ReadInFlight
from ringmill.node.requests.read import Reader, strict_level
from ringmill.node.requests.write_in_flight import WriteInFlight
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["QUORUMS"]


def _w_acks() -> Patches:
    return (method(WriteTally.is_met, property(lambda tally: len(tally.acks) >= max(1, tally.w - 1))),)


def _r_answers() -> Patches:
    return (method(ReadTally.is_met, property(lambda tally: len(tally.answered) >= max(1, tally.r - 1))),)


def _digests_compared() -> Patches:
    """Any digest counts as that of the first object that was told."""
    record_digest = ReadInFlight.record_digest

    def take_any(
        read: ReadInFlight, node: NodeId, digest: bytes, row_epoch: Epoch, watermark: HybridTime = ZERO
    ) -> None:
        for held in list(read._answers.values()):
            read.record_answer(node, held.encoded, row_epoch, watermark)
            return
        record_digest(read, node, digest, row_epoch, watermark)

    def compare_none(read: ReadInFlight, held: OwnerObject) -> None:
        digests, read._digests = read._digests or {}, None
        for node, (_, row_epoch, watermark) in digests.items():
            read.record_answer(node, held.encoded, row_epoch, watermark)

    return (
        method(ReadInFlight.record_digest, take_any),
        method(ReadInFlight._compare_digests, compare_none),
    )


def _write_back() -> Patches:
    async def repair_nothing(reader: Reader, *rest: Any) -> int:
        return 0

    return (method(Reader._repair, repair_nothing),)


def _synced_reads() -> Patches:
    async def read(store: ObjectStore, place: Any) -> bytes:
        stored = await store.read(place)
        return b"" if stored.is_absent else encode_object(stored)

    def read_now(store: ObjectStore, place: Any) -> tuple[bytes, None]:
        return store._engine.get_nowait(place.stored_key) or b"", None

    return method(ObjectStore.read_synced, read), method(ObjectStore.read_now, read_now)


def _holders_by_default_r() -> Patches:
    """A read of r answers counts on later reads of as many: N - r + 1 in place of N - R + 1."""
    repair = Reader._repair

    async def repair_less(reader: Reader, route: Any, collected: Any, *rest: Any) -> int:
        keyspace = replace(route.keyspace, r=len(collected.answers))
        return await repair(reader, route._replace(keyspace=keyspace), collected, *rest)

    return (method(Reader._repair, repair_less),)


def _weak_where_few_hold() -> Patches:
    def level(row: Row, default_r: int) -> int:
        return row.readers_for(row.level(default_r))

    return (function(ringmill.node.requests.read, strict_level, level),)


def _known_operation() -> Patches:
    return (method(StoredObject.find, lambda stored, operation: None),)


def _unknown_is_told() -> Patches:
    lost = WriteInFlight.lost

    def lost_for_certain(write: WriteInFlight, verb: str) -> QuorumNotReached:
        error = lost(write, verb)
        error.outcome = "failed"
        return error

    return (method(WriteInFlight.lost, lost_for_certain),)


def _no_blind_retry() -> Patches:
    """A client sends a write again without a word that it may have been done."""

    def first_message(request: Any, epoch: int, timeout_ms: int, attempt: int) -> Any:
        return attempt_message(request, epoch, timeout_ms, 0)

    return (function(ringmill.client.kv, attempt_message, first_message),)


def _asked_before_again() -> Patches:
    async def allow(retries: WriteRetries, *rest: Any) -> None:
        return None

    return (
        method(WriteRetries.check_retry, allow),
        method(StoredObject.forgets_since, lambda present, operation: False),
    )


def _replaced_is_remembered() -> Patches:
    return (
        function(ringmill.cluster.versions.objects, remember, lambda replaced, entry: b""),
        function(ringmill.cluster.versions.objects, union, lambda ours, theirs: b""),
    )


_TWICE: Final = SimulationOptions(keys=2, sessions=12, faults=("duplicate",), repeats_forwards=True)
_POWER: Final = SimulationOptions(keys=2, faults=("crash_all", "disk_slow"))
# A write is forgotten by its object while its answer is on the way.
_OVERWRITTEN: Final = SimulationOptions(
    keys=1, operations=500, sessions=24, mix=(), faults=("stuck_link", "slow_link", "pause")
)
_CROWD: Final = SimulationOptions(nodes=3, keys=24, operations=800, sessions=48, faults=("loss", "pause"))
_FEW_READ: Final = SimulationOptions(nodes=3, keys=4, w=3, r=1, faults=("loss", "pause"))

QUORUMS: Final = (
    Ablation("w-acks", "a write is acknowledged at w owners, not at w - 1", _w_acks(), rules=("W1",)),
    Ablation("r-answers", "a read is answered by r owners, not by r - 1", _r_answers(), rules=("G1",)),
    Ablation(
        "write-back",
        "N - R + 1 owners hold what a read shows before it is shown",
        _write_back(),
        _CROWD,  # owners that differ are made equal by comparing, so readers have to meet them before
        rules=("G2",),
    ),
    Ablation(
        "synced-reads", "a replica shows only what it cannot forget", _synced_reads(), _POWER, rules=("G2",)
    ),
    Ablation(
        "digests-compared",
        "a digest is an answer when it is that of an object that was told",
        _digests_compared(),
        rules=("G6",),
    ),
    Ablation(
        "holders-by-default-r",
        "N - R + 1 holders, whatever r a read asked for",
        _holders_by_default_r(),
        _CROWD,
        rules=("G2",),
    ),
    Ablation(
        "weak-where-few-hold",
        "an answer is weak where R is no majority, unless N - R + 1 owners hold it",
        _weak_where_few_hold(),
        _FEW_READ,
        rules=("G2",),
    ),
    Ablation(
        "known-operation",
        "an operation that is there is not written again",
        _known_operation(),
        _TWICE,
        rules=("V4",),
    ),
    Ablation(
        "unknown-is-told",
        "a lost quorum after sending is unknown, never failed",
        _unknown_is_told(),
        rules=("W3",),
    ),
    Ablation(
        "no-blind-retry",
        "a write that may have been done is sent again as a later attempt only",
        _no_blind_retry(),
        _OVERWRITTEN,
        rules=("W4",),
    ),
    Ablation(
        "asked-before-again",
        "a later attempt of a write asks a majority what became of the earlier ones",
        _asked_before_again(),
        _OVERWRITTEN,
        rules=("V4",),
    ),
    Ablation(
        "replaced-is-remembered",
        "a copy of a write that was sent twice is known as replaced after the other one has been",
        _replaced_is_remembered(),
        rules=("V4",),
    ),
)
