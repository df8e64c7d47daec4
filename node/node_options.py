"""The tunable numbers of a node, with a field for each room; the simulator and tests change them.

Times in seconds, sizes in bytes.  Production uses the defaults.  node/config.py has what a user can set,
node/storage/engine_options.py the options of an engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ringmill.cluster.hot.key_heat import HeatOptions
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.cluster.mapreduce.messages.worker_messages import Machine
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.node.storage.engine_options import EngineOptions

__all__ = [
    "STORE_SETTINGS",
    "TASK_ENVIRONMENT",
    "TASK_LIMITS",
    "CoordinatorOptions",
    "HintOptions",
    "MembershipOptions",
    "MoveOptions",
    "NodeOptions",
    "AttemptTimeouts",
    "CompareOptions",
    "PurgeOptions",
    "ReplicaOptions",
    "RequestOptions",
    "WorkerOptions",
    "family_limits",
]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_LEAST_SHARE: Final = 8 * _MIB
_SPACE_OF_MEMORY: Final = 8
"""Address space that a process with a job's code may reserve for each byte of memory that it may use, where
no cgroup holds its memory.  Chosen: polars reserved five times what it used on two cores."""
_RECORD_BYTES: Final = 400  # of memory: a record of 100 bytes in a memtable, or a hint

TASK_LIMITS: Final[Mapping[str, int]] = {
    "family_bytes": 2048 * _MIB,
    "cpu_s": 24 * 3600,
    "open_files": 1024,
    "file_bytes": 64 * 1024 * _MIB,
    "processes": 64,
}
"""The limits of one task process, as `TaskStarter.start_task` (cluster/ports.py) names them."""
STORE_SETTINGS: Final[Mapping[str, str]] = {
    name: value for name, value in os.environ.items() if name.startswith("FSSPEC_")
}
"""What the node was given for stores: all that a process gets of its environment that runs no job's code."""
TASK_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "MIMALLOC_ARENA_RESERVE": "65536",  # KiB; Arrow's allocator takes 1 GiB of the address space at once
    **STORE_SETTINGS,
}
"""All that a process with a job's code gets of the node's environment."""


def family_limits(limits: Mapping[str, int], memory_mib: int, factor: int = 1) -> Mapping[str, int]:
    """The limits of a process with a job's code.

    The memory is `factor` times what the job asks for, or that of `limits` where it asks for none (0).  The
    process and its descendants together have no more of it resident; what they reserve and do not use does
    not count, but for a bound of the address space of each.
    """
    memory_bytes = (memory_mib * _MIB or limits["family_bytes"]) * factor
    return {**limits, "as_bytes": _SPACE_OF_MEMORY * memory_bytes, "family_bytes": memory_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """How a start counts its objects beside the requests that it answers, and how long its answers are."""

    count_slice: int = 128  # objects counted in one turn of the loop, well under a millisecond
    count_pause_s: float = 0.004  # between two slices: counting takes an eighth of the loop's time
    most_whole_bytes: int = 1024
    """A larger object is told by its digest to who asks for one (rule G6): about what a frame costs beside
    its content.  Chosen, not measured."""
    page_items: int = 1000  # most objects of one page for healing, catch-up or a scan; at most 1,000
    feed_keys: int = 65_536  # most keys that the feed of changes remembers, each with its last change


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipOptions:
    """node/membership.  The failure detector has profiles of its own (cluster/membership/profile.py)."""

    look_at_clock_every_s: float = 1.0
    compare_clocks_every_s: float = 10.0
    clock_answer_s: float = 0.5  # how long to wait for the time of another node
    voter_down_s: float = 600.0  # a voter that is down for as long loses its vote (rule T3)
    voter_turn_s: float = 10.0  # between the proposals of two voters, and between two tries of one


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """How long a request waits for owners that are slow, and a stop for what is still under way."""

    stall_s: float = 0.075
    """After this silence of an owner another one is asked, too, whatever the hedges (rule G1).

    Far above a get of a node that is not overloaded (docs/benchmarks.md), so that few reads ask one owner
    more, and short beside the default deadline of 5 s.  Chosen, not measured.
    """
    hedge_floor_s: float = 0.01
    """No answer is late before (rule G1): a tick of the wheel on which reads wait, and what is never a slow
    answer (rule G4)."""
    hedge_share: float = 0.05
    """The share of all reads that may ask one more owner for an answer that is late."""
    hedges_saved: float = 10.0
    """Hedges that are saved while none is needed, and that there are at first."""
    repair_patience_s: float = 0.25
    """How long owners with another answer have to ack the write-back, before further owners are written
    to."""
    deferred_patience_s: float = 0.25
    """How long the owners that a write asks first have to meet its level, before one seen down is asked."""
    fallback_patience_s: float = 1.0
    """How long a member may take to keep a hint that counts, its sync included, before the next one is
    asked; an owner of a sloppy keyspace has `deferred_patience_s` before one stands in for it."""
    together_least: int = 2
    """How many requests of one frame ask an owner, or bring it a write, in one message; fewer do so alone."""
    proof_patience_s: float = 0.15
    """How long an owner may take to show that it answers, before a write is forwarded to the next one."""
    last_moment_s: float = 1.0
    """How long a stop waits for the disk to store one more hint; usually it does not need the disk."""
    drain_s: float = 3.0  # how long a stop waits for late acks, hints and write-backs
    watches: int = 2048  # that wait on this node at a time
    watches_of_a_connection: int = 256
    watch_again_s: float = 3.0
    """How often a watch reads its key though nothing has changed here, as this owner may miss a change."""
    kept_operations: int = 16
    """First attempts that a register remembers: a later attempt finds the first one among as many changes
    (rule R4).  About 35 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HintOptions:
    """The bounds of the hints for one owner (node/replica/hints.py), and their delivery (node/repair)."""

    most_bytes: int = 1024 * _MIB  # of keys and objects
    most_hints: int = 1_000_000
    """For all owners together, as each takes some 400 bytes of memory."""
    most_refused_bytes: int = 64 * _MIB  # of all that the disk has refused, in memory
    longest_s: float = 3 * 3600.0
    """No more are kept for an owner for whom some have waited as long: comparing brings what it misses."""

    batch_items: int = 64
    batch_bytes: int = 256 * _KIB
    targets_at_once: int = 4  # owners to deliver hints to at the same time
    call_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How owners compare their copies (node/repair)."""

    every_s: float = 60.0  # between two rounds; 0 is only when somebody may lack something
    settle_s: float = 1.0
    """Before leaves that differ are looked at again: far longer than a write is under way.  Chosen, not
    measured."""
    looks: int = 3
    at_once: int = 4  # partitions that are mended with one owner at the same time
    sums_every_s: float = 86_400.0
    """The time in which the sums of each copy are made anew once, beside all work, and compared with those
    that are kept; 0 is never.  Chosen, not measured."""
    bytes_per_s: int = 24 * _MIB  # of objects moved, so that requests keep disks and loops


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """How a new copy is filled (node/moves)."""

    table_bytes: int = 8 * _MIB
    """Bytes of objects that are read before they become durable together, as one table.

    Two copies are filled at a time, so twice as much is held in memory.
    """
    least_table_bytes: int = 1 * _MIB
    """Less is merged in through the log: a file and a sync for each of some hundred small copies would cost
    more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeOptions:
    """How deletes are forgotten (node/repair)."""

    after_s: float = 0.0  # how old they are then; 0 never
    every_s: float = 30.0  # between two rounds
    step: float = 0.05  # of `after_s`: a watermark is proven again once it would move by as much
    wait_s: float = 1.0  # before a partition is tried again that another pair of owners compares
    tries: int = 3
    settle_s: float = 5.0  # after which an owner asks the others what came of an attempt that it has kept
    at_once: int = 8  # partitions that are compared at the same time
    least_garbage_bytes: int = 64 * _KIB
    garbage_share: float = 0.1
    """The share of the stored bytes that may be forgotten before tables are merged to return space."""
    journals_every_s: float = 600.0
    """Between two looks for journals of jobs that are forgotten, whatever `after_s` is; 0 never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeouts:
    """How long an attempt of a task may take."""

    wall_s: float = 3600.0
    no_progress_s: float = 60.0
    least_bytes_per_s: float = 1e6
    """One that reads much has more time, as if it read no faster than this."""

    def reading(self, size: int) -> AttemptTimeouts:
        """Of an attempt that reads this many bytes."""
        return replace(self, wall_s=self.wall_s + size // self.least_bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How long attempts, jobs and task processes are kept on a worker that hears nothing of them."""

    timeouts: AttemptTimeouts = field(default_factory=AttemptTimeouts)
    limits: Mapping[str, int] = field(default_factory=lambda: TASK_LIMITS)
    containment: TaskContainment = field(default_factory=TaskContainment)
    progress_every_s: float = 0.5
    stint_s: float = 0.05  # what attempts are expected to take together that share a message to their process
    orphan_after_s: float = 30.0  # a job is dropped when its coordinator is silent for this long
    warm_for_s: float = 60.0  # idle task processes are kept for this long after the last job
    machine: Machine = field(default_factory=Machine)  # that this node runs on; by default of no other node


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions:
    """How long code that no open job needs is kept (node/jobs/bundle_bounds.py)."""

    most_bytes: int = 1 << 30  # of all bundles of this node
    longest_s: float = 7 * 86_400.0  # since it was used last
    least_s: float = 600.0  # since then it is always kept: a job that needs it may be on its way
    every_s: float = 0.0  # between two looks; 0 for none


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorOptions:
    """How a job's coordinator follows its workers."""

    poll_every_s: float = 1.0
    silent_after_s: float = 40.0
    """A worker that answers no poll for this long is given up; it has dropped the job by then."""
    lease_s: float = 6.0  # how long the others wait for a coordinator that has vanished
    keep_lease_s: float = 10.0  # after the last job, so that the next one need not wait for the lease
    snapshot_every: int = 500  # entries of a job's journal, so that a takeover reads few
    containment: TaskContainment = field(default_factory=TaskContainment)  # of code that asks about rounds
    load_window: int = 1024  # records put into a keyspace between two notes in the journal
    kept_jobs: int = 100  # that are over; of earlier ones nothing is kept
    ahead_s: float = 0.1
    """Of work that may wait at a node: more than messages take there and back on a busy machine.  Chosen."""
    ahead_longest_s: float = 0.25  # of a task before which another one may wait.  Chosen.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The options of all rooms: `hints`, `compare` and `purge` of repair, `worker` of compute, `bundles`
    and `coordinator` of jobs."""

    storage: EngineOptions = field(default_factory=EngineOptions)
    replica: ReplicaOptions = field(default_factory=ReplicaOptions)
    membership: MembershipOptions = field(default_factory=MembershipOptions)
    requests: RequestOptions = field(default_factory=RequestOptions)
    work_limit: WorkLimitOptions = field(default_factory=WorkLimitOptions)
    heat: HeatOptions = field(default_factory=HeatOptions)
    hints: HintOptions = field(default_factory=HintOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    moves: MoveOptions = field(default_factory=MoveOptions)
    purge: PurgeOptions = field(default_factory=PurgeOptions)
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    bundles: BundleOptions = field(default_factory=BundleOptions)
    coordinator: CoordinatorOptions = field(default_factory=CoordinatorOptions)

    def within(self, memory_bytes: int) -> NodeOptions:
        """These options for a machine with so much memory.

        With less than 2 GiB the memtables and the cache are smaller, with less than 3 GiB hints are fewer.

        Two memtables are in memory, at times half as much again, and one more in the child that flushes.
        """
        share = memory_bytes // 16
        storage = replace(
            self.storage,
            memtable_bytes=min(self.storage.memtable_bytes, max(_LEAST_SHARE, share)),
            memtable_records=min(self.storage.memtable_records, max(_LEAST_SHARE, share) // _RECORD_BYTES),
            block_cache_bytes=min(self.storage.block_cache_bytes, max(_LEAST_SHARE, share)),
        )
        most_hints = min(self.hints.most_hints, max(_LEAST_SHARE, 2 * share) // _RECORD_BYTES)
        return replace(self, storage=storage, hints=replace(self.hints, most_hints=most_hints))
