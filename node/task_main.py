"""Entry of the forkserver and of its task processes: the only place where user code runs.

    python -P -m ringmill.node.task_main --forkserver FD

The forkserver imports what every task needs, so that a task starts within 2 ms.  It and its children use
ringmill.cluster.mapreduce and the real FileSystem, never gRPC or the rest of the node.

A task process answers one RunAttempt or JobStep after another until one fails; then it ends, because user
code may have left anything behind.  A second thread reports progress, to tell slow work from none; it stays
from one attempt to the next.
"""

from __future__ import annotations

import gc
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import google_crc32c  # noqa: F401 - imported before the fork, as are the codecs below
import lz4.block  # noqa: F401
import zstandard  # noqa: F401

from ringmill.cluster.adapters.containment.contain import Contained, contain, prepare_to_contain
from ringmill.cluster.adapters.containment.refusals import hint_of
from ringmill.cluster.adapters.files.counted_files import CountedFiles
from ringmill.cluster.adapters.files.guarded_files import GuardedFiles
from ringmill.cluster.adapters.processes.forkserver import Forkserver, TaskPipe
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures, TaskMeter
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, classify
from ringmill.cluster.mapreduce.file_errors import is_spoilt
from ringmill.cluster.mapreduce.kernel.task import job_from_bundle
from ringmill.cluster.mapreduce.messages.reach import Reach, files_of_split
from ringmill.cluster.mapreduce.messages.task_messages import JobStep, RunAttempt, RunStint, Said
from ringmill.cluster.mapreduce.messages.task_service import (
    NeedsAnotherProcess,
    answers,
    do_job_step,
    run_attempt,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import RECORD_MARK, AttemptProgress, Progress
from ringmill.cluster.os_errors import error_text

__all__ = ["main", "serve_attempts"]

_TELL_EVERY_S: Final = 0.5
_NUMBER: Final = struct.Struct("<Q")
_IDLE_LOOKS: Final = 10  # without an attempt, then it waits for one: to wake it costs an attempt some 50 us


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--forkserver":
        sys.stderr.write("ringmill.node.task_main is started by a node: --forkserver FD\n")
        return 2
    prepare_to_contain()
    if sys.version_info >= (3, 14):  # whose own way connects by Unix sockets: contained tasks have none
        import multiprocessing  # noqa: PLC0415

        multiprocessing.set_start_method("fork")
    gc.freeze()  # objects made before the fork stay shared with the children
    Forkserver(socket.socket(fileno=int(arguments[1])), serve_attempts).run()
    return 0


def serve_attempts(connection: socket.socket) -> None:
    """Serve attempts until the pipe ends or an attempt fails."""
    pipe = _Pipe(connection)
    here = _Process(_Teller(pipe), _Fence(), _Peak())
    while (message := pipe.receive()) is not None:
        pace = _StintPace(pipe)
        for said in answers(message, lambda run: _run(run, here), lambda step: _do(step, here), pace.goes_on):
            pipe.say(said)
            if said.kind not in ("done", "rest"):
                return


class _Pipe(TaskPipe):
    """What is said to the node."""

    def say(self, said: Said) -> None:
        self.send(said.encode())


class _StintPace:
    """Between the attempts of a stint, of which the node hears when they are over."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._begun_s = time.monotonic()
        self._waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)

    def goes_on(self, stint: RunStint) -> bool:
        """Mark the end of what an attempt has printed; tells whether the next one may begin."""
        with suppress(OSError):  # the job's code may have closed it
            os.write(2, stint.mark)
        if self._pipe.has_more() or time.monotonic() - self._begun_s >= stint.longest_s:
            return False
        return not _has_children() and resource.getrusage(resource.RUSAGE_CHILDREN) == self._waited_for


def _has_children() -> bool:
    """Whether a process that was started here has not ended, or is not waited for; or nobody can tell, as the
    job's code has the kernel forget those that end."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class _Fence:
    """What this process may reach; once set, it stays.  Set it while there is one thread."""

    def __init__(self) -> None:
        self._contained: Contained | None = None

    def put_around(self, reach: Sequence[Any], files: Sequence[str] = (), folder: str = "") -> None:
        """Contain this process, if it is asked and not done yet.

        Raises NeedsAnotherProcess when it may not read these files or write in this folder; TaskFailed when
        the kernel refuses.
        """
        if self._contained is not None:
            if not all(map(self._contained.may_read, files)) or (
                folder and not self._contained.may_write(folder)
            ):
                raise NeedsAnotherProcess
        elif reach:
            try:
                self._contained = contain(Reach.from_wire(reach), files)
            except OSError as error:
                raise TaskFailed(
                    Cause.ENGINE_ERROR, f"the task cannot be contained: {error_text(error)}"
                ) from error

    def explained(self, failure: TaskFailed, error: BaseException) -> TaskFailed:
        """With a hint, and as the fault of the job, when the error is that of this fence."""
        if self._contained is None or failure.cause not in (Cause.USER_ERROR, Cause.ENGINE_ERROR):
            return failure
        hint = hint_of(error, self._contained)
        if not hint:
            return failure
        return replace(failure, cause=Cause.USER_ERROR, message=f"{failure.message}; {hint}")


def _do(step: JobStep, here: _Process) -> list[Any]:
    """Plan or publish, or ask the job's code.  Raises RingmillError, TaskFailed."""
    here.fence.put_around(step.reach)
    with closing(GuardedFiles(step.secrets)) as files:
        if step.what != "until":
            with here.teller.following(files):
                return do_job_step(step, files, job_from_bundle)
        try:
            return do_job_step(step, files, job_from_bundle)
        except TaskFailed as failure:
            raise _as_user_sees(here.fence.explained(failure, failure), step.bundle) from failure


def _run(run: RunAttempt, here: _Process) -> tuple[MapOutput | ReduceOutput, AttemptFigures]:
    """Run one attempt.  Raises TaskFailed for every error, with frames that name the user's files."""
    here.fence.put_around(run.reach, files_of_split(run.split) if run.reach else (), run.folder)
    os.chdir(run.scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = run.scratch
    _tell_trace(run.trace)
    tempfile.tempdir = None
    here.peak.forget()
    try:
        with (
            closing(_RecordMark(run.scratch)) as mark,
            closing(CountedFiles()) as files,
            here.teller.following(files, mark.tell) as progress,
        ):
            return run_attempt(run, files, job_from_bundle, progress)
    except TaskFailed as failure:
        _lift_memory_limit()
        blamed = here.fence.explained(_rightly_blamed(failure, run), failure)
        raise _as_user_sees(blamed, run.bundle) from failure
    except RingmillError as error:  # what is asked for is not in the bundle, or not a job
        raise TaskFailed(Cause.BAD_BUNDLE, str(error)) from error
    except BaseException as error:  # sys.exit() in user code too
        _lift_memory_limit()
        user_files = [name for name in _loaded_files() if name.startswith(run.bundle)]
        told_of = here.fence.explained(classify(error, user_files), error)
        raise _as_user_sees(told_of, run.bundle) from error
    finally:
        _tell_trace("")
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:  # by the job's code
                stream.flush()


def _tell_trace(traceparent: str) -> None:
    """By the variable that OpenTelemetry has for it.  "": there is none, as between two attempts."""
    os.environ.pop("TRACEPARENT", None)
    if traceparent:
        os.environ["TRACEPARENT"] = traceparent


_Followed: TypeAlias = tuple[Progress, CountedFiles]


class _Teller:
    """Reports the progress of attempts, and of steps of a job that run none of its code, twice a second from
    one thread of its own, as long as there is some.

    While neither `progress` nor any file changes, it reports nothing, and the node's timeout runs.
    """

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._followed: _Followed | None = None
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()

    @contextmanager
    def following(
        self, files: CountedFiles, at_record: Callable[[int], None] = lambda _: None
    ) -> Iterator[Progress]:
        """Tell of one attempt, which sets this progress, or step; nothing is told of it after the block."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
            self._thread.start()
        progress = Progress(_METER, at_record)
        self._followed = progress, files
        self._begun.set()
        try:
            yield progress
        finally:
            with self._pipe.speaking:
                self._followed = None

    def _tell(self) -> None:
        followed: _Followed | None = None
        said, idle = (AttemptProgress(), 0), 0
        while True:
            if idle >= _IDLE_LOOKS:
                self._begun.clear()
                if self._followed is None:  # what begins from here on wakes it
                    self._begun.wait()
            time.sleep(_TELL_EVERY_S)
            if self._followed is not followed:
                followed, said = self._followed, (AttemptProgress(), 0)
            idle = 0 if followed is not None else idle + 1
            if followed is not None:
                said = self._say(followed, said)

    def _say(self, followed: _Followed, said: tuple[AttemptProgress, int]) -> tuple[AttemptProgress, int]:
        """What was said last; nothing new is not said."""
        progress, files = followed
        now = progress.now(), files.bytes_moved
        if now != said:
            with self._pipe.speaking:
                if self._followed is followed:  # else it is over meanwhile
                    self._pipe.say(Said("progress", now[0].to_wire()))
        return now


class _RecordMark:
    """The record that map has, where the node finds it when this process is gone.  It is made by the first
    word: most jobs set no records aside."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/{RECORD_MARK}"
        self._mark: mmap.mmap | None = None

    def tell(self, number: int) -> None:
        if self._mark is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, bytes(_NUMBER.size), 0)  # without room a store into a hole is a SIGBUS
                self._mark = mmap.mmap(descriptor, _NUMBER.size)
            except OSError as error:
                error.filename = self._path
                with suppress(OSError):
                    os.unlink(self._path)
                raise
            finally:
                os.close(descriptor)
        _NUMBER.pack_into(self._mark, 0, number)

    def close(self) -> None:
        if self._mark is not None:
            self._mark.close()
            with suppress(OSError):
                os.unlink(self._path)


def _peak_bytes() -> int:
    """The most resident memory since `_Peak.forget`; where that did nothing, since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Peak:
    """Opened before the process is contained, which then may not open it."""

    def __init__(self) -> None:
        self._clear_refs = -1
        with suppress(OSError):  # a kernel without it, or one that forbids it
            self._clear_refs = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)

    def forget(self) -> None:
        """So that an attempt is not told the peak of another one that this process had before."""
        with suppress(OSError):
            os.write(self._clear_refs, b"5")  # the peak alone: no page is touched


@dataclass(frozen=True, slots=True)
class _Process:
    """What attempts find in this process, one after the other."""

    teller: _Teller
    fence: _Fence
    peak: _Peak


_METER: Final = TaskMeter(time.monotonic, time.process_time, _peak_bytes)


def _rightly_blamed(failure: TaskFailed, run: RunAttempt) -> TaskFailed:
    """Blame the job's code for a file of the attempt that is missing, locked or there too early, because
    nothing else writes there."""
    is_ours = failure.cause is Cause.ENGINE_ERROR or not failure.frames
    if is_ours and is_spoilt(failure.__cause__, (run.scratch, run.folder)):
        shown = failure.message.replace(run.folder, "FOLDER").replace(run.scratch, "FOLDER")
        did = "deleted or locked the folder it works in, or a file there"
        if isinstance(failure.__cause__, FileExistsError):
            did = "made a file that the task itself makes in the folder it works in"
        return replace(failure, cause=Cause.USER_ERROR, message=f"the job's code {did}: {shown}")
    return failure


def _as_user_sees(failure: TaskFailed, bundle: str) -> TaskFailed:
    """File names without the folder of bundles, which means nothing to the user."""
    frames = tuple(frame.removeprefix(f"{bundle}/") for frame in failure.frames)
    return replace(failure, message=failure.message.replace(f"{bundle}/", ""), frames=frames)


def _loaded_files() -> list[str]:
    return [str(getattr(module, "__file__", "") or "") for module in list(sys.modules.values())]


def _lift_memory_limit() -> None:
    """After a MemoryError there must be room to say so."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
