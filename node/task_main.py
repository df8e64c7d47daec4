"""Entry of the forkserver and of its task processes: the only place where user code runs.

    python -P -m ringmill.node.task_main --forkserver FD

The forkserver imports what every task needs, so that a task starts within 2 ms.  It and its children use
ringmill.cluster.mapreduce and the real FileSystem, never gRPC or the rest of the node.

A task process answers one RunAttempt or JobStep after another until one fails; then it ends, because user
code may have left anything behind.  A second thread reports progress, to tell slow work from none.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, Final

import google_crc32c  # noqa: F401 - imported before the fork, as are the codecs below
import lz4.block  # noqa: F401
import zstandard  # noqa: F401

from ringmill.cluster.adapters.files.counted_files import CountedFiles
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.adapters.processes.forkserver import Forkserver
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures, TaskMeter
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, classify
from ringmill.cluster.mapreduce.file_errors import is_spoilt
from ringmill.cluster.mapreduce.kernel.task import job_from_bundle
from ringmill.cluster.mapreduce.messages.task_messages import JobStep, RunAttempt, Said
from ringmill.cluster.mapreduce.messages.task_service import answer, do_job_step, run_attempt
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import AttemptProgress, Progress

__all__ = ["main", "serve_attempts"]

_LENGTH_BYTES: Final = 4
_TELL_EVERY_S: Final = 0.5


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--forkserver":
        sys.stderr.write("ringmill.node.task_main is started by a node: --forkserver FD\n")
        return 2
    gc.freeze()  # objects made before the fork stay shared with the children
    Forkserver(socket.socket(fileno=int(arguments[1])), serve_attempts).run()
    return 0


def serve_attempts(connection: socket.socket) -> None:
    """Serve attempts until the pipe ends or an attempt fails."""
    pipe = _Pipe(connection)
    while (message := pipe.receive()) is not None:
        said = answer(message, lambda run: _run(run, pipe), _do)
        pipe.say(said)
        if said.kind != "done":
            return


class _Pipe:
    """Length-prefixed messages; two threads may speak."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._speaking = threading.Lock()

    def receive(self) -> bytes | None:
        """The next message, None at the end."""
        header = self._read(_LENGTH_BYTES)
        return None if header is None else self._read(int.from_bytes(header, "big"))

    def say(self, said: Said) -> None:
        message = said.encode()
        with self._speaking:
            self._connection.sendall(len(message).to_bytes(_LENGTH_BYTES, "big") + message)

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            data = self._connection.recv(size - len(parts))
            if not data:
                return None
            parts += data
        return bytes(parts)


def _do(step: JobStep) -> list[Any]:
    """Plan or publish, or ask the job's code.  Raises RingmillError, TaskFailed."""
    with closing(UrlFiles()) as files:
        try:
            return do_job_step(step, files, job_from_bundle)
        except TaskFailed as failure:
            raise _as_user_sees(failure, step.bundle) from failure


def _run(run: RunAttempt, pipe: _Pipe) -> tuple[MapOutput | ReduceOutput, AttemptFigures]:
    """Run one attempt.  Raises TaskFailed for every error, with frames that name the user's files."""
    os.chdir(run.scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = run.scratch
    tempfile.tempdir = None
    _forget_peak()
    try:
        with closing(CountedFiles()) as files, _Teller(pipe, files) as teller:
            return run_attempt(run, files, job_from_bundle, teller.progress)
    except TaskFailed as failure:
        _lift_memory_limit()
        raise _as_user_sees(_rightly_blamed(failure, run), run.bundle) from failure
    except RingmillError as error:  # what is asked for is not in the bundle, or not a job
        raise TaskFailed(Cause.BAD_BUNDLE, str(error)) from error
    except BaseException as error:  # sys.exit() in user code too
        _lift_memory_limit()
        user_files = [name for name in _loaded_files() if name.startswith(run.bundle)]
        raise _as_user_sees(classify(error, user_files), run.bundle) from error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class _Teller:
    """Reports progress twice a second from a separate thread, as long as there is some.

    While neither `progress` nor any file changes, it reports nothing, and the node's timeout runs.
    """

    def __init__(self, pipe: _Pipe, files: CountedFiles) -> None:
        self._pipe = pipe
        self._files = files
        self.progress = Progress(_METER)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> _Teller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        said = AttemptProgress(), 0
        while not self._over.wait(_TELL_EVERY_S):
            now, moved = self.progress.now(), self._files.bytes_moved
            if (now, moved) != said:
                self._pipe.say(Said("progress", now.to_wire()))
                said = now, moved


def _peak_bytes() -> int:
    """The most resident memory since `_forget_peak`; where that did nothing, since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    """So that an attempt is not told the peak of another one that this process had before."""
    with suppress(OSError):  # a kernel without it, or one that forbids it
        clear_refs = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(clear_refs, b"5")  # the peak alone: no page is touched
        finally:
            os.close(clear_refs)


_METER: Final = TaskMeter(time.monotonic, time.process_time, _peak_bytes)


def _rightly_blamed(failure: TaskFailed, run: RunAttempt) -> TaskFailed:
    """Blame the job's code for a missing or locked file of the attempt, because nothing else writes there."""
    is_ours = failure.cause is Cause.ENGINE_ERROR or not failure.frames
    if is_ours and is_spoilt(failure.__cause__, (run.scratch, run.folder)):
        told = failure.message.replace(run.folder, "FOLDER").replace(run.scratch, "FOLDER")
        text = f"the job's code deleted or locked the folder it works in, or a file there: {told}"
        return replace(failure, cause=Cause.USER_ERROR, message=text)
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
