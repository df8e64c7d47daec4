"""What readers are handed: one value or a conflict that cannot be overlooked, and what JSON holds of it."""

from __future__ import annotations

import json
import pickle

import msgpack
import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.jobs.job_values import job_state
from ringmill.client.values import (
    EMPTY,
    CausalContext,
    Item,
    Location,
    OwnerCopy,
    Receipt,
    ReplicaAck,
    item_of,
)
from ringmill.cluster.errors import JobFailed, UnresolvedSiblings, to_wire
from ringmill.cluster.wire.stubs import jobs_pb2, kv_pb2

CONTEXT = CausalContext(b"\x01\x02")
ONE = Item((b"Ada",), CONTEXT, ("n1#1:1",), expiries=(1_900_000_000.5,))
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
    receipt = Receipt("n1#1:1", CONTEXT, 1, 2, (ReplicaAck("n1", "owner", "synced"),))
    location = Location(5, 1, 1, (OwnerCopy("n1", "up", ("n1#1:1",), same=True, answered=True),), ("n4",))
    for value in (ONE, TWO, receipt, location, CONTEXT, EMPTY):
        assert json.loads(json.dumps(value.to_dict())) == value.to_dict()
    assert receipt.to_dict()["replicas"] == [{"node": "n1", "role": "owner", "durability": "synced"}]


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
    for value in (ONE, TWO, CONTEXT, EMPTY):
        assert pickle.loads(pickle.dumps(value)) == value
