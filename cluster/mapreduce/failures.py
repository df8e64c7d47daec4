"""The failure of an attempt: one cause of a fixed list, with the details that a user needs.

Pure.  The fault decides the retry budget (cluster/mapreduce/machine/task_state.py), so the kernels classify
at once: an error with a frame of the job's own module in its traceback is the user's, everything else is the
engine's.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from ringmill.cluster.errors import CorruptData, InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.well_formed import text
from ringmill.cluster.os_errors import Meaning, meaning_of

__all__ = [
    "Cause",
    "TaskFailed",
    "as_lost",
    "as_raised",
    "at_record",
    "cause_of",
    "classify",
    "last_printed",
    "not_pairs",
    "shown",
    "too_many_bad",
]

_MAX_MESSAGE_CHARS: Final = 2000
_MAX_FRAMES: Final = 50
_MAX_FRAME_CHARS: Final = 1000
_MAX_RECORD_CHARS: Final = 200
_MAX_PRINTED_CHARS: Final = 200
_AT_RECORD: Final = re.compile("record ([1-9][0-9]{0,12}) of the split")
_LOOPS: Final = tuple(
    f"ringmill.cluster.mapreduce.{each}"
    for each in ("kernel.", "api.folds", "api.joining.join_steps", "files.rendering", "footprint")
)
"""The modules that unpack the pairs of a job's functions."""


class Cause(StrEnum):
    """Every failed attempt has one of these causes (docs/operations.md, "Jobs")."""

    USER_ERROR = "UserError"
    KILLED = "Killed"
    OUT_OF_MEMORY = "OutOfMemory"
    NODE_MEMORY = "NodeMemory"  # of its node's machine, or of the node's group
    TIMEOUT = "Timeout"
    NO_PROGRESS = "NoProgress"
    LOST_NODE = "LostNode"
    FETCH_FAILED = "FetchFailed"
    CORRUPT_DATA = "CorruptData"
    DISK_FULL = "DiskFull"
    BAD_BUNDLE = "BadBundle"
    INPUT_CHANGED = "InputChanged"
    CANCELLED = "Cancelled"
    ENGINE_ERROR = "EngineError"


_CAUSES: Final = {Meaning.FULL: Cause.DISK_FULL, Meaning.FORBIDDEN: Cause.USER_ERROR}


def cause_of(error: OSError) -> Cause:
    """The cause of a failure that is not the fault of the job's functions.

    A path that the nodes' user may not use counts as the user's error, because only the user can allow it.
    """
    return _CAUSES.get(meaning_of(error), Cause.ENGINE_ERROR)


@dataclass
class TaskFailed(Exception):
    """An attempt failed.

    `message` is one line for people; `frames` are the last 50 lines of the user's own traceback; `position`
    is the record that was read last ("FILE offset N"), and `record` shows at most 200 characters of it; both
    may be empty.
    """

    cause: Cause
    message: str
    frames: tuple[str, ...] = ()
    position: str = ""
    record: str = ""

    def __post_init__(self) -> None:
        """Cut the texts, because user code may make them of any length and a failure must fit into a
        message."""
        self.message = _cut(self.message, _MAX_MESSAGE_CHARS)
        self.frames = tuple(_cut(frame, _MAX_FRAME_CHARS) for frame in self.frames[-_MAX_FRAMES:])
        self.position = _cut(self.position, _MAX_FRAME_CHARS)
        self.record = _cut(self.record, _MAX_RECORD_CHARS)

    def __str__(self) -> str:
        return f"{self.cause}: {self.message}" + (f" at {self.position}" if self.position else "")

    @property
    def fatal_record(self) -> int:
        """The record of the split, 1 for the first, that map had when its process was at its end, or out of
        memory; 0 where it had none, or nobody knows."""
        if self.cause not in (Cause.KILLED, Cause.OUT_OF_MEMORY, Cause.USER_ERROR):
            return 0
        found = _AT_RECORD.fullmatch(self.position)
        return int(found[1]) if found else 0

    @property
    def essence(self) -> tuple[Cause, str, tuple[str, ...]]:
        """What is equal in two failures of the same kind, in whichever attempt."""
        return self.cause, self.message, self.frames

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole failure as lines: message, record, the user's frames."""
        return (str(self), *((f"record: {self.record}",) if self.record else ()), *self.frames)

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [cause, message, frames, position, record]."""
        return [str(self.cause), self.message, list(self.frames), self.position, self.record]

    @classmethod
    def from_wire(cls, fields: list[Any]) -> TaskFailed:
        """Decode a failure, which user code may have forged.  Raises ValueError or TypeError."""
        cause, message, frames, position, record = fields
        return cls(Cause(cause), text(message), tuple(map(text, frames)), text(position), text(record))

    def as_job_error(self, task: str, attempt: int) -> JobFailed:
        """The error that the user gets when this failure makes the job fail."""
        lines = [f"{task}, attempt {attempt}: {self}"]
        if self.record:
            lines.append(f"  record: {self.record}")
        ends = self.frames if len(self.frames) <= 6 else (*self.frames[:3], "...", *self.frames[-3:])
        lines += (f"  {frame}" for frame in ends)
        detail = {
            "task": task,
            "attempt": attempt,
            "cause": str(self.cause),
            "message": self.message,
            "frames": list(self.frames),
            "position": self.position,
            "record": self.record,
        }
        return JobFailed("\n".join(lines), detail=detail)


def as_lost(failure: list[Any] | None) -> list[Any] | None:
    """The wire form of a failure as earlier releases read it, of which none knows NodeMemory."""
    if failure is None or failure[0] != Cause.NODE_MEMORY:
        return failure
    return [str(Cause.LOST_NODE), *failure[1:]]


def at_record(number: int) -> str:
    """The position of a failure at which map had this record of its split."""
    return f"record {number} of the split"


def too_many_bad(most: int) -> JobFailed:
    """The error of a job whose tasks together have set more records aside than may be."""
    story = f"more than {most} bad records, as many as may be set aside (on_bad_record='quarantine:{most}')"
    hint = "`ringmill job logs JOB` shows the first of each task"
    return JobFailed(story, hint=hint, detail={"cause": str(Cause.USER_ERROR)})


def classify(
    error: BaseException, user_files: Iterable[str], position: str = "", record: str = ""
) -> TaskFailed:
    """The failure for an exception that ended an attempt.

    `user_files` are the source files of the job's functions: frames from the first of them on are the user's,
    and an error without such a frame is the engine's.
    """
    if isinstance(error, TaskFailed):
        return error if error.position else replace(error, position=position, record=record)
    error = as_raised(error, user_files)
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, MemoryError):
        return TaskFailed(Cause.OUT_OF_MEMORY, text, _user_frames(error, user_files), position, record)
    frames = _user_frames(error, user_files)
    if frames or isinstance(error, InvalidArgument):  # a codec or a fold refuses what the functions gave
        return TaskFailed(Cause.USER_ERROR, text, frames, position, record)
    if isinstance(error, CorruptData):
        return TaskFailed(Cause.CORRUPT_DATA, str(error), (), position)
    if isinstance(error, OSError) and (cause := cause_of(error)) is not Cause.ENGINE_ERROR:
        return TaskFailed(cause, text, (), position)
    where = [f"{f.filename}:{f.lineno} {f.name}()" for f in traceback.extract_tb(error.__traceback__)]
    return TaskFailed(Cause.ENGINE_ERROR, text, tuple(where), position)


def as_raised(error: BaseException, user_files: Iterable[str]) -> BaseException:
    """The error, or the StopIteration of the user's code that a generator around it has replaced."""
    cause = error.__cause__
    if not isinstance(error, RuntimeError) or not isinstance(cause, StopIteration):
        return error
    return cause if _user_frames(cause, user_files) else error


def last_printed(output: bytes) -> str:
    """The end of the last line that a process has printed, which may tell why it ended; "" where there is
    none."""
    return output.rstrip().rpartition(b"\n")[2].decode(errors="replace")[-_MAX_PRINTED_CHARS:]


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, with the total number when some are left out."""
    end = f"... ({len(text)} characters)"
    return text if len(text) <= limit else text[: limit - len(end)] + end


def not_pairs(error: TypeError | ValueError, role: str, where: str) -> Exception:
    """What to raise for an error while the pairs of a job's function are unpacked or folded.

    An error with frames of the engine's own loops alone means that they are not pairs, or not what the fold
    takes; one with any other frame is the function's own and is returned unchanged.
    """
    frame = error.__traceback__
    while frame is not None:
        if not frame.tb_frame.f_globals.get("__name__", "").startswith(_LOOPS):
            return error
        frame = frame.tb_next
    pairs = "pairs (key, value) of the types in its hints"
    return TaskFailed(Cause.USER_ERROR, f"{role} {where} must give {pairs}: {error}")


def shown(value: object, chars: int) -> str:
    """A value as Python writes it, at most `chars` characters; also one that Python refuses to write."""
    try:
        return f"{value!r:.{chars}}"
    except Exception as error:  # noqa: BLE001  a user's __repr__, or an int of more than 4,300 digits
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _user_frames(error: BaseException, user_files: Iterable[str]) -> tuple[str, ...]:
    """ "FILE:LINE in NAME(): source" of each frame from the first one in the user's files on."""
    files = set(user_files)
    stack = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(stack) if frame.filename in files), None)
    if first is None:
        return ()
    return tuple(
        f"{frame.filename}:{frame.lineno} in {frame.name}(): {frame.line or ''}".rstrip(": ")
        for frame in stack[first:]
    )
