"""Node processes of this machine: start, recognise, signal, wait.

The system reuses pids, so a pid alone does not identify a process.  Its pid together with its start mark
(boot id and start tick) does, and signals are sent only where both match.  psutil is loaded only where /proc
is missing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from ringmill.cluster.adapters.files.private_files import open_private

__all__ = [
    "LiveProcess",
    "end_as_by_ctrl_c",
    "find_process",
    "is_running",
    "our_environment",
    "signal_process",
    "signals_held",
    "spawn",
    "start_mark",
    "wait_gone",
]

POLL_S = 0.01
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Settings of one node that `ringmill node run` starts: nodes that are started here have their own, or none.
_OF_ONE_NODE = frozenset(
    f"RINGMILL_{name}"
    for name in (
        "ADVERTISE",
        "CONFIG",
        "FRAMES_PORT",
        "JOIN",
        "LOG_FILE",
        "METRICS",
        "SEEDS",
        "NODE_TLS_CA",
        "NODE_TLS_CERT",
        "NODE_TLS_KEY",
        "TLS_CLIENTS",
        "TLS_CRL",
    )
)


class LiveProcess(NamedTuple):
    """A process as the system sees it now: its start mark, and whether it is stopped (SIGSTOP)."""

    mark: str
    is_stopped: bool


def find_process(pid: int) -> LiveProcess | None:
    """The running process with this pid, or None.

    A zombie counts as ended, once its last thread has: until then it holds its locks and files.
    """
    if pid <= 0:
        return None
    if not os.path.isdir("/proc/self"):
        return _find_by_psutil(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()
    state, threads, start_tick = fields[0], fields[17], fields[19]
    has_ended = state == "X" or (state == "Z" and int(threads) <= 1)
    return None if has_ended else LiveProcess(f"{boot}/{start_tick}", state in "Tt")


def start_mark(pid: int) -> str:
    """The start mark of a process that was just started; "" when it has already ended."""
    found = find_process(pid)
    return found.mark if found else ""


def is_running(pid: int, mark: str) -> bool:
    """Whether the recorded process still runs."""
    found = find_process(pid)
    return found is not None and bool(mark) and found.mark == mark


def signal_process(pid: int, mark: str, number: signal.Signals) -> bool:
    """Send a signal to the recorded process and no other; False when it is gone."""
    if not is_running(pid, mark):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int, mark: str, timeout_s: float) -> bool:
    """Wait until the process has ended; False when it still runs after `timeout_s`."""
    until = time.monotonic() + timeout_s
    while is_running(pid, mark):
        if time.monotonic() >= until:
            return False
        _reap(pid)
        time.sleep(POLL_S)
    _reap(pid)
    return True


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM, and SIGHUP of a terminal that is closed, do what Ctrl-C does.

    Who has started nodes ends them then.  One that is ignored, as under nohup, or has a handler, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP:  # a shell and the kernel each send one, and one is enough
        signal.signal(number, signal.SIG_IGN)
    of_ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(of_ctrl_c):  # that of a running loop cancels the main task alone: what it ends with goes on
        of_ctrl_c(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


@contextmanager
def signals_held() -> Iterator[None]:
    """A signal that would end this process, or interrupt it, does so at the end of the block.

    They are not blocked, as what is started here would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    former = {
        number: handler
        for number in _ENDING
        if (handler := signal.getsignal(number)) in (signal.SIG_DFL, signal.default_int_handler, _interrupt)
    }
    for number in former:
        signal.signal(number, lambda came_now, _: came.append(came_now))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def spawn(arguments: Sequence[str], *, log_path: str, folder: str) -> subprocess.Popen[bytes]:
    """Start `python ARGUMENTS` in a session of its own, stdout and stderr appended to the log."""
    with os.fdopen(open_private(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=_of_nodes(our_environment(), folder),
            start_new_session=True,
        )


def _of_nodes(environment: Mapping[str, str], folder: str) -> dict[str, str]:
    """The environment of nodes that start in `folder`.  Each may write traces below a folder; they cannot
    share a file."""
    traces = environment.get("RINGMILL_TRACES", "")
    is_of_one = traces.startswith("file:") and not os.path.isdir(
        os.path.join(folder, traces.removeprefix("file:"))
    )
    left_out = {*_OF_ONE_NODE, *(["RINGMILL_TRACES"] if is_of_one else [])}
    return {name: text for name, text in environment.items() if name not in left_out}


def our_environment() -> Mapping[str, str]:
    """The environment in which `python -P -m ringmill.node` finds the code that runs here, wherever it was
    started."""
    root = str(Path(__file__).absolute().parents[__name__.count(".")])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path)}


def _reap(pid: int) -> None:
    """Reap an ended child of ours, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _find_by_psutil(pid: int) -> LiveProcess | None:
    import psutil

    try:
        process = psutil.Process(pid)
        status = process.status()
        if status == psutil.STATUS_ZOMBIE:
            return None
        return LiveProcess(f"{process.create_time():.2f}", status == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return None
