"""Safeguards of versions: siblings, merging, contexts in receipts, deletes."""

from __future__ import annotations

from typing import Any, Final

import ringmill.node.replica.object_store
import ringmill.node.replica.serving
import ringmill.node.requests.owner_calls
import ringmill.node.requests.write
import ringmill.node.storage.engine
import ringmill.node.storage.recovery.opening
from ringmill.cluster.errors import Overloaded
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.versions.objects import StoredObject, merge
from ringmill.node.replica.object_batch import Applied, ObjectBatch, Present
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stored_key import Place
from ringmill.node.requests.read import Reader
from ringmill.node.requests.request_values import ReadResult
from ringmill.node.requests.write_in_flight import WriteInFlight
from ringmill.simulator.options import SimulationOptions
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


def _all_shown() -> Patches:
    """A reader gets the newest sibling alone, with the context of all."""
    result = Reader._result

    def newest(reader: Reader, *of_read: Any, **named: Any) -> ReadResult:
        found = result(reader, *of_read, **named)
        return found._replace(siblings=found.siblings[:1])

    return (method(Reader._result, newest),)


def _merges_unbound() -> Patches:
    """A replica refuses a merge that makes more siblings than a client's write may; here more than three."""
    merged = ObjectStore._merge

    def bound(
        store: ObjectStore,
        batch: ObjectBatch,
        place: Place,
        present: Present,
        incoming: StoredObject,
        **how: Any,
    ) -> Applied:
        found = merge(present.stored, incoming)
        if len(found.siblings) > max(_MOST, len(present.stored.siblings)):
            raise Overloaded(f"{len(found.siblings)} siblings")
        return merged(store, batch, place, present, incoming, **how)

    return (method(ObjectStore._merge, bound),)


_MOST: Final = 3
_CONFLICTS: Final = SimulationOptions(
    mix=("conflicts", "one_key"), faults=("split_halves", "split_one"), core=0.0
)
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
    Ablation(
        "merges-unbound",
        "a merge is taken however many siblings it makes",
        _merges_unbound(),
        _CONFLICTS,
        rules=("V5",),
    ),
    Ablation(
        "all-siblings-shown",
        "a reader is shown all siblings, not the newest alone",
        _all_shown(),
        rules=("V3",),
    ),
)
