"""Events of a job's state machine as msgpack-able rows, [name, fields...], as a job's journal keeps them.

Pure.  Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeAlias

from ringmill.cluster.errors import RingmillError, from_wire, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import StagePlace
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptFailed,
    AttemptId,
    AttemptProgressed,
    AttemptStarted,
    CommitDelayed,
    CommitDone,
    CommitFailed,
    Event,
    KillRequested,
    LoadMoved,
    MapDone,
    NodeDown,
    NodeUp,
    PauseRequested,
    ReduceDone,
    ResumeRequested,
    StagePlanned,
    StageRefused,
    StagingLost,
    TakenOver,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput

__all__ = ["event_row", "read_event"]

Reader: TypeAlias = Callable[[Any], Any]


def _attempt(row: Sequence[Any]) -> AttemptId:
    return AttemptId(*row)


def _place(row: Sequence[Any]) -> StagePlace:
    return StagePlace(*row)


def _splits(rows: Sequence[Any]) -> tuple[Split, ...]:
    return tuple(map(Split.from_wire, rows))


def _perhaps(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _perhaps_attempt(row: Sequence[Any] | None) -> AttemptId | None:
    return None if row is None else AttemptId(*row)


def _perhaps_figures(row: Sequence[Any] | None) -> AttemptFigures | None:
    return None if row is None else AttemptFigures.from_wire(row)


_EVENTS: Final[Mapping[str, tuple[type[Event], tuple[Reader, ...]]]] = {
    "up": (NodeUp, (NodeId, str)),
    "down": (NodeDown, (NodeId,)),
    "started": (AttemptStarted, (_attempt, NodeId, _perhaps)),
    "progressed": (AttemptProgressed, (_attempt, int, str)),
    "mapped": (MapDone, (_attempt, MapOutput.from_wire, _perhaps_figures)),
    "reduced": (ReduceDone, (_attempt, ReduceOutput.from_wire, _perhaps_figures)),
    "failed": (AttemptFailed, (_attempt, TaskFailed.from_wire, _perhaps_attempt, _perhaps_figures)),
    "unstaged": (StagingLost, (from_wire,)),
    "kill": (KillRequested, ()),
    "pause": (PauseRequested, ()),
    "resume": (ResumeRequested, ()),
    "taken": (TakenOver, (NodeId,)),
    "delayed": (CommitDelayed, (from_wire,)),
    "loading": (LoadMoved, (int, int)),
    "shown": (CommitDone, ()),
    "unshown": (CommitFailed, (from_wire,)),
    "staged": (StagePlanned, (_place, _splits, int, tuple)),
    "unplanned": (StageRefused, (from_wire,)),
}
"""By name: the event, and how each of its fields is read."""
_NAMES: Final = {event: name for name, (event, _) in _EVENTS.items()}


def event_row(event: Event) -> list[Any]:
    """The row of an event; of a start without a word on where its input lies as earlier releases have it."""
    row = [_NAMES[type(event)], *(_plain(getattr(event, each.name)) for each in fields(event))]
    return row[:-1] if isinstance(event, AttemptStarted) and event.is_near is None else row


def read_event(row: Sequence[Any]) -> Event:
    """The event of a row.  Raises ValueError, TypeError or LookupError for what is none."""
    name, *values = row
    event, readers = _EVENTS[name]
    if event is AttemptStarted and len(values) < len(readers):
        values.append(None)
    return event(*(read(value) for read, value in zip(readers, values, strict=True)))


def _plain(value: Any) -> Any:
    if isinstance(value, AttemptId | StagePlace):
        return list(value)
    if isinstance(value, tuple):
        return [each.to_wire() if isinstance(each, Split) else each for each in value]
    if isinstance(value, MapOutput | ReduceOutput | TaskFailed | AttemptFigures):
        return value.to_wire()
    return to_wire(value) if isinstance(value, RingmillError) else value
