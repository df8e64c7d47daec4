"""The public Python API: everything a user imports, loaded on first use.

Names live in their own rooms; nothing is defined here, and `import ringmill` loads neither gRPC nor the
store's client.

    from ringmill import FileInput, FileOutput, job     # declare a job (docs/guide.md)
    from ringmill import connect, Client                # talk to a cluster, async or blocking
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from client.blocking import Client
    from client.connection import AsyncClient, connect
    from client.job_values import JobState
    from client.values import EMPTY, CausalContext, Item, Location, Receipt
    from cluster.errors import (
        ClientClosed,
        Conflict,
        CorruptData,
        DeadlineExceeded,
        DiskFull,
        InvalidArgument,
        JobFailed,
        JobKilled,
        NotFound,
        Overloaded,
        PermissionDenied,
        ProtocolMismatch,
        QuorumNotReached,
        RingmillError,
        Unavailable,
        UnresolvedSiblings,
        WrongEpoch,
    )
    from cluster.mapreduce.context import Context
    from cluster.mapreduce.definition import FileInput, FileOutput, JobDefinition, job

__all__ = [
    "AsyncClient", "CausalContext", "Client", "ClientClosed", "Conflict", "Context", "CorruptData",
    "DeadlineExceeded", "DiskFull", "EMPTY", "FileInput", "FileOutput", "InvalidArgument", "Item",
    "JobDefinition", "JobFailed", "JobKilled", "JobState", "Location", "NotFound", "Overloaded",
    "PermissionDenied", "ProtocolMismatch", "QuorumNotReached", "Receipt", "RingmillError", "Unavailable",
    "UnresolvedSiblings", "WrongEpoch", "connect", "job",
]  # fmt: skip

_HOMES: Final = {
    "client.blocking": ("Client",),
    "client.connection": ("AsyncClient", "connect"),
    "client.job_values": ("JobState",),
    "client.values": ("CausalContext", "EMPTY", "Item", "Location", "Receipt"),
    "cluster.errors": (
        "ClientClosed", "Conflict", "CorruptData", "DeadlineExceeded", "DiskFull", "InvalidArgument",
        "JobFailed", "JobKilled", "NotFound", "Overloaded", "PermissionDenied", "ProtocolMismatch",
        "QuorumNotReached", "RingmillError", "Unavailable", "UnresolvedSiblings", "WrongEpoch",
    ),
    "cluster.mapreduce.context": ("Context",),
    "cluster.mapreduce.definition": ("FileInput", "FileOutput", "JobDefinition", "job"),
}  # fmt: skip
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'ringmill' has no attribute {name!r}")
    if home.startswith("client."):
        # gRPC reads this when it is imported.  Its own handlers of a fork end the child by SIGSEGV while
        # asyncio channels are open, also a child that never uses a client.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
