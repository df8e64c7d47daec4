"""Sees which task process of which node does what, by its folder and its open files in /proc.

No node tells it: what is looked for are single processes in the midst of a map, a reduce or a step.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from chaos.jobs.job_nodes import JobNodes
from ringmill.cluster.adapters.processes.process_table import ProcessTable

__all__ = ["Doing", "SeenTask", "bound_files", "caught", "killed", "seen_tasks"]

Doing = Literal["map", "reduce", "step"]
"""A step is planning or publishing, in a process of its own that runs no code of the job."""
STEP_FOLDER: Final = "/"
"""A new process is there, too: it goes to its folder, and is nicer than its node from then on."""


class SeenTask(NamedTuple):
    node: str
    pid: int
    doing: Doing | None  # None: nothing that can be told, as between two attempts

    def go_on(self) -> None:
        """After it was caught."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


def seen_tasks(nodes: JobNodes, names: Sequence[str], inputs: Sequence[str]) -> list[SeenTask]:
    """All task processes of these nodes.  `inputs` are the folders that maps read."""
    table = ProcessTable()
    return [
        SeenTask(name, pid, _doing(pid, inputs))
        for name in names
        if name not in nodes.killed
        for starter in table.children(nodes.pid_of(name))
        for pid in table.children(starter)
    ]


def caught(task: SeenTask, inputs: Sequence[str]) -> bool:
    """Stop a process; whether it is still at what it was seen at.  Else it goes on."""
    with suppress(ProcessLookupError):
        os.kill(task.pid, signal.SIGSTOP)
        if _doing(task.pid, inputs) == task.doing:
            return True
        task.go_on()
    return False


def killed(task: SeenTask) -> bool:
    """SIGKILL a process that was caught; False where it is gone."""
    try:
        os.kill(task.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def bound_files(task: SeenTask, most_bytes: int) -> bool:
    """Let a process that was caught go on, and write no file beyond this size: its write fails, as on a full
    disk.  False where it is gone or may not be bound; then it just goes on."""
    try:
        _, highest = resource.prlimit(task.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(task.pid, resource.RLIMIT_FSIZE, (most_bytes, highest))
    except (ProcessLookupError, PermissionError, ValueError):  # the last: its highest limit is below
        return False
    finally:
        task.go_on()
    return True


def _doing(pid: int, inputs: Sequence[str]) -> Doing | None:
    try:
        has_settled = os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        if os.readlink(f"/proc/{pid}/cwd") == STEP_FOLDER:
            return "step" if has_settled else None
        opened = list(_opened(pid))
    except OSError:
        return None
    if any("/reduce-" in path for path in opened):
        return "reduce"
    if any("/map-" in path or path.startswith(tuple(inputs)) for path in opened):
        return "map"
    return None


def _opened(pid: int) -> Iterator[str]:
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{number}")
