"""The one table: each error, its code on the wire, its gRPC status, its exit code, its prefix for Redis."""

from __future__ import annotations

import pickle

import grpc
import pytest

from ringmill.cluster import errors
from ringmill.cluster.errors import RingmillError, from_wire, to_wire
from ringmill.cluster.wire.error_status import error_in_metadata, status_of, trailing_metadata

TABLE = {
    "RingmillError": ("INTERNAL", "INTERNAL", 1, "ERR"),
    "NotFound": ("NOT_FOUND", "NOT_FOUND", 3, "ERR"),
    "Conflict": ("CONFLICT", "FAILED_PRECONDITION", 4, "ERR"),
    "UnresolvedSiblings": ("UNRESOLVED_SIBLINGS", "FAILED_PRECONDITION", 1, "ERR"),
    "QuorumNotReached": ("QUORUM_NOT_REACHED", "UNAVAILABLE", 5, "NOQUORUM"),
    "Unavailable": ("UNAVAILABLE", "UNAVAILABLE", 6, "UNAVAILABLE"),
    "ClientClosed": ("CLIENT_CLOSED", "UNAVAILABLE", 6, "UNAVAILABLE"),
    "DeadlineExceeded": ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 5, "TIMEOUT"),
    "InvalidArgument": ("INVALID_ARGUMENT", "INVALID_ARGUMENT", 2, "ERR"),
    "Overloaded": ("OVERLOADED", "RESOURCE_EXHAUSTED", 1, "TRYAGAIN"),
    "Stale": ("STALE", "FAILED_PRECONDITION", 1, "ERR"),
    "WrongEpoch": ("WRONG_EPOCH", "FAILED_PRECONDITION", 1, "ERR"),
    "CorruptData": ("CORRUPT_DATA", "DATA_LOSS", 1, "ERR"),
    "DiskFull": ("DISK_FULL", "RESOURCE_EXHAUSTED", 1, "MISCONF"),
    "PermissionDenied": ("PERMISSION_DENIED", "PERMISSION_DENIED", 1, "NOPERM"),
    "JobFailed": ("JOB_FAILED", "ABORTED", 1, "ERR"),
    "JobKilled": ("JOB_KILLED", "CANCELLED", 9, "ERR"),
    "ProtocolMismatch": ("PROTOCOL_MISMATCH", "FAILED_PRECONDITION", 1, "ERR"),
}

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RingmillError)
]


def test_the_table_names_every_error_there_is() -> None:
    assert sorted(TABLE) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_has_its_code_status_and_exit_code(cls: type[RingmillError]) -> None:
    status = TABLE[cls.__name__][1]
    assert (cls.code, cls.grpc_status, cls.exit_code, cls.redis_prefix) == TABLE[cls.__name__]
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
