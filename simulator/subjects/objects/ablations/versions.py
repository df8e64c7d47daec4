"""Safeguards of versions: siblings, merging, contexts in receipts, deletes."""

from __future__ import annotations

from typing import Any, Final

import ringmill.node.replica.object_store
import ringmill.node.replica.serving
import ringmill.node.requests.owner_calls
import ringmill.node.requests.write
import ringmill.node.storage.engine
import ringmill.node.storage.recovery.opening
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.versions.objects import StoredObject, merge
from ringmill.node.replica.object_batch import ObjectBatch
from ringmill.node.requests.write_in_flight import WriteInFlight
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["VERSIONS"]


def _last(stored: StoredObject) -> StoredObject:
    newest = max(stored.siblings, key=lambda sibling: (sibling.time, sibling.dot), default=None)
    return stored if newest is None else stored._replace(siblings=(newest,))


def _siblings() -> Patches:
    def last_writer_wins(ours: StoredObject, theirs: StoredObject) -> StoredObject:
        return _last(merge(ours, theirs))

    return (function(ringmill.node.replica.object_store, merge, last_writer_wins),)


def _merge() -> Patches:
    return (function(ringmill.node.replica.object_store, merge, lambda ours, theirs: theirs),)


def _honest_receipt() -> Patches:
    receipt = WriteInFlight.receipt

    def with_context(write: WriteInFlight, seal: ContextSeal, *, default_w: int) -> QuorumReceipt:
        answer, route = receipt(write, seal, default_w=default_w), write.route
        seen = ContextToken(write.written.applied.stored.context, write.written.sibling.time)
        return answer._replace(context=seal.token(seen, route.keyspace.id, route.key))

    return (method(WriteInFlight.receipt, with_context),)


def _tombstones() -> Patches:
    """What holds only deletes is dropped at once."""
    store = ObjectBatch.store

    def forget(batch: ObjectBatch, key: Any, present: Any, after: Any, **named: Any) -> Any:
        if after.siblings and all(sibling.value is None for sibling in after.siblings):
            after, named = StoredObject(), {**named, "encoded": None}
        return store(batch, key, present, after, **named)

    return (method(ObjectBatch.store, forget),)


VERSIONS: Final = (
    Ablation(
        "siblings",
        "concurrent writes are kept beside each other, not the last one alone",
        _siblings(),
        rules=("V1",),
    ),
    Ablation("merge", "a replica merges what it is sent with what it holds", _merge(), rules=("V1",)),
    Ablation(
        "honest-receipt",
        "a receipt has a context only when no other sibling is left",
        _honest_receipt(),
        rules=("V7",),
    ),
    Ablation("tombstones", "a delete is remembered", _tombstones(), rules=("V1",)),
)
