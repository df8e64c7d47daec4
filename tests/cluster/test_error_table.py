"""The one table: each error, its code on the wire, gRPC status, exit code, HTTP status and RESP prefix."""

from __future__ import annotations

import pickle

import grpc
import pytest

from ringmill.cluster import errors
from ringmill.cluster.errors import RingmillError, from_wire, to_wire
from ringmill.cluster.wire.error_status import error_in_metadata, status_of, trailing_metadata

TABLE = {
    "RingmillError": ("INTERNAL", "INTERNAL", 1, 500, "ERR"),
    "NotFound": ("NOT_FOUND", "NOT_FOUND", 3, 404, "ERR"),
    "Conflict": ("CONFLICT", "FAILED_PRECONDITION", 4, 409, "ERR"),
    "UnresolvedSiblings": ("UNRESOLVED_SIBLINGS", "FAILED_PRECONDITION", 1, 409, "ERR"),
    "QuorumNotReached": ("QUORUM_NOT_REACHED", "UNAVAILABLE", 5, 503, "NOQUORUM"),
    "Unavailable": ("UNAVAILABLE", "UNAVAILABLE", 6, 503, "UNAVAILABLE"),
    "ClientClosed": ("CLIENT_CLOSED", "UNAVAILABLE", 6, 503, "UNAVAILABLE"),
    "DeadlineExceeded": ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 5, 504, "TIMEOUT"),
    "InvalidArgument": ("INVALID_ARGUMENT", "INVALID_ARGUMENT", 2, 400, "ERR"),
    "Overloaded": ("OVERLOADED", "RESOURCE_EXHAUSTED", 1, 503, "TRYAGAIN"),
    "Stale": ("STALE", "FAILED_PRECONDITION", 1, 409, "ERR"),
    "WrongEpoch": ("WRONG_EPOCH", "FAILED_PRECONDITION", 1, 503, "ERR"),
    "CorruptData": ("CORRUPT_DATA", "DATA_LOSS", 1, 500, "ERR"),
    "DiskFull": ("DISK_FULL", "RESOURCE_EXHAUSTED", 1, 507, "MISCONF"),
    "PermissionDenied": ("PERMISSION_DENIED", "PERMISSION_DENIED", 1, 403, "NOPERM"),
    "JobFailed": ("JOB_FAILED", "ABORTED", 1, 409, "ERR"),
    "JobKilled": ("JOB_KILLED", "CANCELLED", 9, 409, "ERR"),
    "ProtocolMismatch": ("PROTOCOL_MISMATCH", "FAILED_PRECONDITION", 1, 502, "ERR"),
}

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RingmillError)
]


def test_the_table_names_every_error_there_is() -> None:
    assert sorted(TABLE) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_has_its_code_and_statuses(cls: type[RingmillError]) -> None:
    status = TABLE[cls.__name__][1]
    told = (cls.code, cls.grpc_status, cls.exit_code, cls.http_status, cls.redis_prefix)
    assert told == TABLE[cls.__name__]
    assert status_of(cls("why")) is grpc.StatusCode[status]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_comes_back_from_the_wire_as_itself(cls: type[RingmillError]) -> None:
    error = cls("why", detail={"n": 3, "key": b"k"}, hint="try", outcome="unknown")
    for returned in (from_wire(to_wire(error)), error_in_metadata(trailing_metadata(error))):
        assert type(returned) is cls
        assert to_wire(returned) == to_wire(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_survives_pickle(cls: type[RingmillError]) -> None:
    error = cls("why", detail={"n": 3}, hint="try", outcome="unknown")
    returned = pickle.loads(pickle.dumps(error))
    assert type(returned) is cls
    assert to_wire(returned) == to_wire(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_twin_with_another_outcome_leaves_the_error_as_it_was(cls: type[RingmillError]) -> None:
    error = cls("why", detail={"n": 3}, hint="try", outcome="unknown")
    twin = error.with_outcome("failed")
    twin.detail["tried"] = ["n1"]
    assert type(twin) is cls
    assert (str(twin), twin.hint, twin.outcome) == ("why", "try", "failed")
    assert (error.detail, error.outcome) == ({"n": 3}, "unknown")


def test_an_unknown_code_keeps_its_name() -> None:
    returned = from_wire(["FROM_THE_FUTURE", "why", {}, "", "failed"])
    assert (type(returned), returned.message) == (RingmillError, "FROM_THE_FUTURE: why")
