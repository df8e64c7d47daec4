"""The public Python API: everything a user imports, loaded on first use.

Nothing is defined here: each name is imported from its own package on first use, so `import ringmill` loads
neither gRPC nor the client.

    from ringmill import FileInput, FileOutput, job     # declare a job (docs/guide.md)
    from ringmill import connect, Client                # talk to a cluster, async or blocking
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final

# gRPC reads it when it is imported.  Its core would write a line about each connection that a node ends into
# the terminal of whoever uses the client; what matters of that is raised as an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from ringmill.client.blocking import Client
    from ringmill.client.connection import AsyncClient, connect
    from ringmill.client.engines.on_dask import run_on_dask
    from ringmill.client.engines.on_spark import run_on_spark
    from ringmill.client.gateway.protection.rate_limits import SlidingWindow, TokenBucket
    from ringmill.client.jobs.estimate_job import estimate_job
    from ringmill.client.jobs.job_values import JobState
    from ringmill.client.jobs.run_local import read_output, read_result, run_local
    from ringmill.client.many_keys import raise_first
    from ringmill.client.pipeline import AsyncPipeline
    from ringmill.client.twins.blocking_pipeline import Pipeline
    from ringmill.client.values import EMPTY, CausalContext, Item, KeyChange, Location, PrefixChange, Receipt
    from ringmill.cluster.adapters.processes.command import Command
    from ringmill.cluster.errors import (
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
    from ringmill.cluster.mapreduce.api.chains.chain import JobChain, iterate, pipeline
    from ringmill.cluster.mapreduce.api.chains.round_result import RoundResult
    from ringmill.cluster.mapreduce.api.definition import job
    from ringmill.cluster.mapreduce.api.folds import Collect, Count, Distinct, Max, Min, Sum, Top
    from ringmill.cluster.mapreduce.api.formats import CollectOutput, FileInput, FileOutput
    from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
    from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, KvOutput
    from ringmill.cluster.mapreduce.api.joining.joins import join
    from ringmill.cluster.mapreduce.api.laws import broken_laws
    from ringmill.cluster.mapreduce.api.sources import Source
    from ringmill.cluster.mapreduce.context import Context

__all__ = [
    "AsyncClient", "AsyncPipeline", "CausalContext", "Client", "ClientClosed", "Collect", "CollectOutput",
    "Command", "Conflict", "Context", "CorruptData", "Count", "DeadlineExceeded", "DiskFull", "Distinct",
    "EMPTY", "FileInput", "FileOutput", "InvalidArgument", "Item", "JobChain", "JobDefinition",
    "JobFailed", "JobKilled", "JobState", "KeyChange", "KvInput", "KvOutput", "Location", "Max", "Min",
    "NotFound", "Overloaded", "PermissionDenied", "Pipeline", "PrefixChange", "ProtocolMismatch",
    "QuorumNotReached", "Receipt", "RingmillError", "RoundResult", "SlidingWindow", "Source", "Sum",
    "TokenBucket", "Top", "Unavailable", "UnresolvedSiblings", "WrongEpoch", "broken_laws", "connect",
    "estimate_job", "iterate", "job", "join", "pipeline", "raise_first", "read_output",
    "read_result", "run_local", "run_on_dask", "run_on_spark",
]  # fmt: skip

_HOMES: Final = {
    "ringmill.client.many_keys": ("raise_first",),
    "ringmill.client.blocking": ("Client",),
    "ringmill.client.twins.blocking_pipeline": ("Pipeline",),
    "ringmill.client.connection": ("AsyncClient", "connect"),
    "ringmill.client.gateway.protection.rate_limits": ("SlidingWindow", "TokenBucket"),
    "ringmill.client.jobs.estimate_job": ("estimate_job",),
    "ringmill.client.jobs.job_values": ("JobState",),
    "ringmill.client.engines.on_dask": ("run_on_dask",),
    "ringmill.client.engines.on_spark": ("run_on_spark",),
    "ringmill.client.jobs.run_local": ("read_output", "read_result", "run_local"),
    "ringmill.client.pipeline": ("AsyncPipeline",),
    "ringmill.cluster.mapreduce.api.laws": ("broken_laws",),
    "ringmill.client.values": (
        "CausalContext", "EMPTY", "Item", "KeyChange", "Location", "PrefixChange", "Receipt",
    ),
    "ringmill.cluster.adapters.processes.command": ("Command",),
    "ringmill.cluster.errors": (
        "ClientClosed", "Conflict", "CorruptData", "DeadlineExceeded", "DiskFull", "InvalidArgument",
        "JobFailed", "JobKilled", "NotFound", "Overloaded", "PermissionDenied", "ProtocolMismatch",
        "QuorumNotReached", "RingmillError", "Unavailable", "UnresolvedSiblings", "WrongEpoch",
    ),
    "ringmill.cluster.mapreduce.context": ("Context",),
    "ringmill.cluster.mapreduce.api.joining.joins": ("join",),
    "ringmill.cluster.mapreduce.api.sources": ("Source",),
    "ringmill.cluster.mapreduce.api.folds": ("Collect", "Count", "Distinct", "Max", "Min", "Sum", "Top"),
    "ringmill.cluster.mapreduce.api.chains.chain": ("JobChain", "iterate", "pipeline"),
    "ringmill.cluster.mapreduce.api.chains.round_result": ("RoundResult",),
    "ringmill.cluster.mapreduce.api.definition": ("job",),
    "ringmill.cluster.mapreduce.api.job_definition": ("JobDefinition",),
    "ringmill.cluster.mapreduce.api.formats": ("CollectOutput", "FileInput", "FileOutput"),
    "ringmill.cluster.mapreduce.api.job_keyspaces": ("KvInput", "KvOutput"),
}  # fmt: skip
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'ringmill' has no attribute {name!r}")
    if home.startswith("ringmill.client."):
        # gRPC reads this when it is imported.  While asyncio channels are open, its own fork handlers crash a
        # forked child with SIGSEGV, even one that never uses a client.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
