"""Progress of a job on stderr: live bars on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ringmill.client.cli.console.output import note
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import as_typed
from ringmill.client.cli.jobs.job_document import progress_line
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary
from ringmill.cluster.printable import printable

__all__ = ["Show", "bar_text", "shown_progress"]

LINE_EVERY_S = 3.0
EVENTS_SHOWN = 5
EVENT_CHARS = 200


class Show(Protocol):
    def __call__(self, state: JobState) -> None: ...


@contextmanager
def shown_progress(settings: Settings) -> Iterator[Show]:
    """The function that shows each state: bars when stderr is a terminal, else lines."""
    if settings.output != "table" or not sys.stderr.isatty():
        yield _Lines(settings)
        return
    with _bars(settings) as show:
        yield show


class _Lines:
    """Prints a line when a stage or the job has progressed, at most one every few seconds."""

    def __init__(self, settings: Settings) -> None:
        self._next = 0.0
        self._events = _Events(settings)

    def __call__(self, state: JobState) -> None:
        for line in self._events.new_in(state):
            note(line)
        now = time.monotonic()
        if now >= self._next or state.is_over:
            self._next = now + LINE_EVERY_S
            note(progress_line(state))


class _Events:
    """The events of a job as lines: the first few, and at the end the number of the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._printed: list[str] = []

    def new_in(self, state: JobState) -> list[str]:
        """Lines that were not printed before.  An event may come before one that is always the last."""
        had, new = Counter(self._printed), list[str]()
        for event in state.events:
            if had[event]:
                had[event] -= 1
            else:
                new.append(event)
        del new[EVENTS_SHOWN - len(self._printed) :]
        self._printed += new
        lines = list(map(_short, new))
        if state.is_over and len(state.events) > EVENTS_SHOWN:
            more = f"  and {len(state.events) - EVENTS_SHOWN} more: ringmill job status {state.job}"
            lines.append(as_typed(more, self._settings))
        return lines


def _short(event: str) -> str:
    return f"  {event}" if len(event) <= EVENT_CHARS else f"  {event[: EVENT_CHARS - 3]}..."


@contextmanager
def _bars(settings: Settings) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TextColumn,
    )

    bars: dict[str, TaskID] = {}
    events = _Events(settings)
    with Progress(
        TextColumn("  {task.description:<7}"),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True, highlight=False),
    ) as shown:

        def show(state: JobState) -> None:
            for line in events.new_in(state):
                shown.console.print(printable(line), style="yellow", markup=False)
            for stage in state.stages:
                if stage.name not in bars:
                    bars[stage.name] = shown.add_task(stage.name, total=None, text="")
                total, completed = _length(stage)
                text = bar_text(state, stage)
                shown.update(bars[stage.name], total=total, completed=completed, text=text)

        yield show


def _length(stage: StageSummary) -> tuple[int | None, int]:
    """What the bar measures: bytes, so that it moves inside a task; tasks when there are no bytes."""
    if stage.bytes_total:
        return stage.bytes_total, stage.bytes_done
    return stage.total or None, stage.done


def bar_text(state: JobState, stage: StageSummary) -> str:
    """What stands beside the bar of a stage; how long the job still takes beside the one that it is at."""
    present = next((one for one in state.stages if one.done < one.total), None)
    left = f"  {state.left}" if state.left is not None and stage is present else ""
    return f"{stage.done}/{stage.total}  {_read(stage)}{left}"


def _read(stage: StageSummary) -> str:
    """How much it has read: no rate, as nobody tells when the stage began, and for how long it was paused."""
    if not stage.bytes_done:
        return ""
    whole = "" if stage.done == stage.total else f" of {max(stage.bytes_total, stage.bytes_done) / 1e6:.1f}"
    return f"{stage.bytes_done / 1e6:.1f}{whole} MB"
