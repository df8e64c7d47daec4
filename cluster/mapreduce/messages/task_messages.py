"""The messages between a node and one of its task processes over their pipe (msgpack arrays).

    node -> process   RunAttempt, RunStint, LeaveOff, or JobStep
    process -> node   Said("progress", [bytes done, bytes in all, status, where]), Said("done", MapOutput or
                      ReduceOutput and AttemptFigures as to_wire gives them, or what a job step gives),
                      Said("failed", TaskFailed.to_wire()), Said("refused", errors.to_wire()) of a job step,
                      Said("other", None) when only another process can have what the attempt may reach,
                      Said("rest", None) when the rest of a stint is to be asked for again

A process answers one request at a time, that of a stint with an answer for each attempt, and ends after
"failed".  User code shares the process and can also
write to the pipe, so the shape of each message is checked, and none is trusted beyond the task's own result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgpack

from ringmill.cluster.mapreduce.outputs import Slice

__all__ = ["JobStep", "LeaveOff", "RunAttempt", "RunStint", "Said", "decode_request"]

_KINDS: Final = frozenset({"progress", "done", "failed", "refused", "other", "rest"})
_STINT: Final = "stint"
_LEAVE_OFF: Final = "leave off"
_STEPS: Final = ("plan", "stage", "publish", "withdraw", "until")
_MOST_MAPS: Final = 16  # the counters, or the details of an error
_MOST_BYTES: Final = {
    bytes(msgpack.packb([kind, None]))[:-1]: size
    for kind, size in {
        "progress": 16 << 10,  # a status and a position, which are cut
        "done": 8 << 20,  # 1,000 lines of log, 1,000 counters, a row for each partition
        "failed": 256 << 10,  # 50 frames, which are cut
        "refused": 1 << 20,
        "other": 64,
        "rest": 64,
    }.items()
}
"""What a message begins with, and how large it may be then."""


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """Run one attempt.  Paths are absolute.

    `scratch` is the attempt's own folder on the node and becomes the current one; the kernel writes in
    `folder`: the same for a map, the staging folder beside the output for a reduce.  With `reach`, the wire
    form of a Reach, the process is contained before it runs any code of the job.
    """

    stage: str  # "map" or "reduce"
    task: int
    attempt: int
    spec: bytes
    bundle: str
    scratch: str
    folder: str
    memory_factor: int = 1
    split: Sequence[Any] = ()  # map: Split.to_wire()
    reach: Sequence[Any] = ()
    trace: str = ""  # "traceparent" of the attempt, where it is traced
    slices: tuple[Slice, ...] = ()  # reduce: fetched copies, in the order of map tasks

    def encode(self) -> bytes:
        slices = [(s.path, s.offset, s.length, s.raw_bytes, s.records) for s in self.slices]
        fields = [
            self.stage, self.task, self.attempt, self.spec, self.bundle, self.scratch, self.folder,
            self.memory_factor, self.split, self.reach, self.trace, slices,
        ]  # fmt: skip
        return bytes(msgpack.packb(fields, unicode_errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class RunStint:
    """Run attempts of maps one after the other, which are short: one message costs less than many.

    After each of them the process writes `mark` where it prints, so that its node can tell apart what they
    have printed.  It leaves off when it has run for `longest_s`, an attempt has left processes behind, or
    another message has come.
    """

    runs: tuple[RunAttempt, ...]  # that differ in task, attempt, folders and split alone
    mark: bytes
    longest_s: float

    def encode(self) -> bytes:
        first = self.runs[0]
        rows = [(run.task, run.attempt, run.scratch, run.folder, run.split) for run in self.runs]
        fields = [
            _STINT, first.stage, first.spec, first.bundle, first.memory_factor, first.reach, self.mark,
            self.longest_s, rows,
        ]  # fmt: skip
        return bytes(msgpack.packb(fields, unicode_errors="surrogatepass"))

    @classmethod
    def of(cls, fields: Sequence[Any]) -> RunStint:
        """What `encode` made, unpacked."""
        _, stage, spec, bundle, factor, reach, mark, longest_s, rows = fields
        runs = tuple(
            RunAttempt(stage, task, attempt, spec, bundle, scratch, folder, factor, split, reach)
            for task, attempt, scratch, folder, split in rows
        )
        return cls(runs, mark, longest_s)


@dataclass(frozen=True, slots=True)
class LeaveOff:
    """Begin no further attempt of the stint.  It has no answer, and one that comes too late no effect."""

    def encode(self) -> bytes:
        return bytes(msgpack.packb([_LEAVE_OFF]))


@dataclass(frozen=True, slots=True)
class JobStep:
    """Plan or publish a job (cluster/mapreduce/commit/job_steps.py), or ask whether a round was the last."""

    what: str  # one of _STEPS
    spec: bytes
    parts: Sequence[Any] = ()
    """publish, withdraw: the fields of each StagedPart; stage: the folder that may go; until: number of the
    round and what it has counted."""
    again: bool = False
    bundle: str = ""  # until: the job's code, which no other step loads
    reach: Sequence[Any] = ()  # until: as in RunAttempt
    secrets: Sequence[str] = ()  # plan, stage: files of the cluster, which are no inputs

    def encode(self) -> bytes:
        fields = [self.what, self.spec, self.parts, self.again, self.bundle, self.reach, self.secrets]
        return bytes(msgpack.packb(fields, unicode_errors="surrogatepass"))


def decode_request(message: bytes) -> RunAttempt | RunStint | LeaveOff | JobStep:
    """What `encode` made of each."""
    fields = msgpack.unpackb(message, unicode_errors="surrogatepass")
    if fields[0] == _STINT:
        return RunStint.of(fields)
    if fields[0] == _LEAVE_OFF:
        return LeaveOff()
    if fields[0] in _STEPS:
        return JobStep(*fields)
    *values, slices = fields
    return RunAttempt(*[*values, tuple(Slice(*row) for row in slices)])


@dataclass(frozen=True, slots=True)
class Said:
    kind: str
    body: Any

    def encode(self) -> bytes:
        return bytes(msgpack.packb([self.kind, self.body], unicode_errors="surrogatepass"))

    @classmethod
    def decode(cls, message: bytes) -> Said:
        """What a process says that runs user code, its arrays as tuples.

        Raises ValueError for anything that is not such a message, or larger than it can be: the size of each
        kind is looked at before it is unpacked.
        """
        most = next((size for start, size in _MOST_BYTES.items() if message.startswith(start)), 0)
        if len(message) > most:
            raise ValueError(f"a message of {len(message)} bytes, of at most {most}: {message[:20]!r}")
        maps = count(1)

        def few_maps(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
            if next(maps) > _MOST_MAPS:
                raise ValueError(f"more than {_MOST_MAPS} maps in a message")
            return dict(pairs)

        fields = msgpack.unpackb(
            message, unicode_errors="surrogatepass", use_list=False, object_pairs_hook=few_maps, max_ext_len=0
        )
        return cls._of(fields, message)

    @classmethod
    def decode_of_step(cls, message: bytes) -> Said:
        """What a process says that runs none.  Raises ValueError for anything that is not such a message."""
        return cls._of(msgpack.unpackb(message, unicode_errors="surrogatepass"), message)

    @classmethod
    def _of(cls, fields: Any, message: bytes) -> Said:
        match fields:
            case [str(kind), body] if kind in _KINDS:
                return cls(kind, body)
            case _:
                raise ValueError(f"not a task process's message: {message[:40]!r}")
