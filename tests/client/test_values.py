"""What readers are handed: one value or a conflict that cannot be overlooked, and what JSON holds of it."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any, cast

import msgpack
import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.jobs.job_values import job_state
from ringmill.client.values import (
    EMPTY,
    SMALL_BYTES,
    CausalContext,
    Item,
    Location,
    OwnerCopy,
    Receipt,
    ReplicaAck,
    item_of,
    receipt_from,
)
from ringmill.cluster.errors import JobFailed, UnresolvedSiblings, to_wire
from ringmill.cluster.wire.stubs import jobs_pb2, kv_pb2

CONTEXT = CausalContext(b"\x01\x02")
ONE = Item((b"Ada",), CONTEXT, ("n1#1:1",), expiries=(1_900_000_000.5,))
RECEIPT = Receipt(
    "n1#1:1", CONTEXT, 7, 2,
    (ReplicaAck("n1", "owner", "synced"), ReplicaAck("n4", "fallback", "synced", stands_for="n2")),
    weak=True, hybrid_time=1 << 60,
)  # fmt: skip
TOLD = kv_pb2.WriteReceipt(
    dot="n1#1:1",
    context=CONTEXT.token,
    epoch=7,
    w=2,
    replicas=[
        kv_pb2.ReplicaAck(node="n1", role="owner", durability="synced"),
        kv_pb2.ReplicaAck(node="n4", role="fallback", durability="synced", stands_for="n2"),
    ],
    weak=True,
    hybrid_time=1 << 60,
)
TWO = Item((b"newer", b"\xff older"), CONTEXT, ("n2#1:1", "n1#1:4"), ("n1", "n2"), expiries=(None, None))


def test_the_value_of_one_is_that_value() -> None:
    assert (ONE.value, ONE.newest, ONE.one(), ONE.conflict) == (b"Ada", b"Ada", b"Ada", False)


def test_the_value_of_several_is_an_error_that_says_how_to_resolve_them() -> None:
    assert TWO.conflict
    with pytest.raises(UnresolvedSiblings, match="holds 2 values") as several:
        _ = TWO.value
    assert several.value.detail == {"siblings": 2, "dots": ["n2#1:1", "n1#1:4"]}
    assert "context=item.context" in several.value.hint


def test_the_newest_is_there_for_whoever_asks_for_it() -> None:
    assert TWO.newest == b"newer"


def test_several_are_merged_by_the_callers_own_function_newest_first() -> None:
    assert TWO.one(b"|".join) == b"newer|\xff older"
    assert ONE.one(lambda _: b"not asked") == b"Ada"
    with pytest.raises(UnresolvedSiblings):
        TWO.one()


def test_an_expiry_is_seconds_since_1970() -> None:
    siblings = [kv_pb2.Sibling(value=b"a", dot="n1#1:1", expires_at_ms=1500), kv_pb2.Sibling(value=b"b")]
    item = item_of(kv_pb2.GetResponse(siblings=siblings))
    assert item is not None
    assert (item.expiries, item.expires_at) == ((1.5, None), 1.5)
    assert TWO.expires_at is None


def test_json_holds_one_value_or_says_that_there_are_several() -> None:
    one, two = json.loads(json.dumps(ONE.to_dict())), json.loads(json.dumps(TWO.to_dict()))
    assert (one["value"], one["conflict"], one["expires_at"]) == ("Ada", False, 1_900_000_000.5)
    assert (two["value"], two["conflict"]) == (None, True)
    assert two["siblings"] == [{"value": "newer"}, {"value_b64": "/yBvbGRlcg=="}]
    assert CausalContext.parse(two["context"]) == CONTEXT


def test_every_value_can_be_json() -> None:
    location = Location(5, 1, 1, (OwnerCopy("n1", "up", ("n1#1:1",), same=True, answered=True),), ("n4",))
    for value in (ONE, TWO, RECEIPT, location, CONTEXT, EMPTY):
        assert json.loads(json.dumps(value.to_dict())) == value.to_dict()
    assert RECEIPT.to_dict()["replicas"] == [
        {"node": "n1", "role": "owner", "durability": "synced"},
        {"node": "n4", "role": "fallback", "durability": "synced", "stands_for": "n2"},
    ]


def test_states_of_jobs_and_clusters_can_be_json() -> None:
    failure = msgpack.packb(to_wire(JobFailed("map-3 failed", hint="job logs j")))
    stage = jobs_pb2.StageStatus(name="map", total=3, done=1)
    message = jobs_pb2.JobStatus(
        job="j", state="FAILED", error=failure, stages=[stage], records={"map_in": 7}
    )
    state = job_state(message).to_dict()
    assert json.loads(json.dumps(state)) == state
    assert state["error"] == {"code": "JOB_FAILED", "message": "map-3 failed", "hint": "job logs j"}
    node = NodeStatus("n1", "127.0.0.1:7101", "up", "up", 16)
    status = ClusterStatus("c", 1, 3, "ok", ("why",), "n1", Ranges(1, 0, 0), (node,)).to_dict()
    assert json.loads(json.dumps(status)) == status


def test_values_survive_pickle() -> None:
    for value in (ONE, TWO, CONTEXT, EMPTY, RECEIPT, receipt_from(TOLD)):
        assert pickle.loads(pickle.dumps(value)) == value


class Bytes:
    """Of a message, all that there is."""

    def SerializeToString(self) -> bytes:
        return TOLD.SerializeToString()


def test_a_receipt_is_not_read_before_somebody_looks_into_it() -> None:
    assert receipt_from(cast("Any", Bytes())) == RECEIPT


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value,
        lambda value: value.to_dict(),
        lambda value: (value.weak, value.context, value.epoch),
        repr,
        hash,
        asdict,
        copy.copy,
        copy.deepcopy,
        lambda value: pickle.loads(pickle.dumps(value)),
        lambda value: replace(value, epoch=3),
    ],
)
def test_a_value_that_has_come_is_used_like_one_that_was_made(use: Callable[[Receipt | Item], Any]) -> None:
    assert use(receipt_from(TOLD)) == use(RECEIPT)
    for length in (3, SMALL_BYTES):
        content = b"v" * length
        assert use(found(content)) == use(made(content))


def found(content: bytes) -> Item:
    """An item with this value and an older one, as it comes."""
    item = item_of(
        kv_pb2.GetResponse(
            siblings=[
                kv_pb2.Sibling(value=content, dot="n1#1:2", expires_at_ms=1500),
                kv_pb2.Sibling(value=b"older", dot="n2#1:1"),
            ],
            context=CONTEXT.token,
            answered=["n1", "n3"],
            repaired=1,
            weak=True,
            epoch=7,
            judged_at_ms=500,
        )
    )
    assert item is not None
    return item


def made(content: bytes) -> Item:
    return Item(
        (content, b"older"), CONTEXT, ("n1#1:2", "n2#1:1"), ("n1", "n3"), 1,
        weak=True, epoch=7, expiries=(1.5, None), ttls=(1.0, None),
    )  # fmt: skip


def test_an_item_that_has_come_shows_its_values_before_and_after_it_is_looked_into() -> None:
    item = found(b"Ada")
    assert (item.newest, item.conflict) == (b"Ada", True)
    assert (item.ttl, item.answered) == (1.0, ("n1", "n3"))
    assert item.one(b"|".join) == b"Ada|older"


def test_a_receipt_without_a_context_has_none() -> None:
    assert receipt_from(kv_pb2.WriteReceipt(dot="n1#1:1", epoch=1)).context is None


def test_a_receipt_that_has_come_cannot_be_changed_and_has_no_other_names() -> None:
    receipt = receipt_from(TOLD)
    with pytest.raises(FrozenInstanceError):
        receipt.w = 3  # type: ignore[misc]
    for each in (receipt, RECEIPT, receipt_from(TOLD)):
        with pytest.raises(AttributeError, match="'Receipt' object has no attribute 'owner'"):
            _ = each.owner  # type: ignore[attr-defined]
    assert receipt == RECEIPT


def test_threads_that_look_into_one_receipt_at_a_time_find_the_same() -> None:
    for _ in range(20):
        receipt, found, begin = receipt_from(TOLD), list[Receipt](), threading.Barrier(4)

        def look(
            receipt: Receipt = receipt, found: list[Receipt] = found, begin: threading.Barrier = begin
        ) -> None:
            begin.wait()
            found.append(replace(receipt))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [RECEIPT] * 4
