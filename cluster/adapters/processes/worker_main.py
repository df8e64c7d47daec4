"""A worker process: runs one function after the other for its node, over a plain pipe each way.

    python -m ringmill.cluster.adapters.processes.worker_main NODE_PID

It ends when its node ends in any way: by the parent-death signal where there is one, by the end of its stdin
everywhere, even in the middle of a function.  Functions print to stderr, never into the pipe.  It runs at a
lower priority than the node's loop. The other half is cluster/adapters/processes/process_spawner.py; both run
the same code, so pickle is safe between them.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import errno
import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from contextlib import suppress
from operator import attrgetter
from typing import BinaryIO, Final

from ringmill.cluster.adapters.processes.confinement import die_with_parent
from ringmill.cluster.errors import RingmillError

__all__ = ["LENGTH_BYTES", "main"]

LENGTH_BYTES: Final = 8  # of a message, big endian, before each
_NICE: Final = 5  # a third of the loop's weight: at 10 a compaction took six times as long when busy


def main() -> None:
    """Answer requests until the node is gone.  Never returns."""
    die_with_parent(int(sys.argv[1]))
    _step_back()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to handle, and it ends us
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        answer = _answer(requests.get())
        answers.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
        answers.flush()


def _step_back() -> None:
    """Leave the processors to the node's loop, which answers clients; still get a share when all is busy.

    A sandbox that forbids it gets workers that do not give way.
    """
    with suppress(OSError):
        os.nice(_NICE)
        if hasattr(os, "SCHED_BATCH"):  # what computes all the time need not preempt what wakes up briefly
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _read(pipe: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; the end of the pipe is the end of this process."""
    while len(header := pipe.read(LENGTH_BYTES)) == LENGTH_BYTES:
        requests.put(pipe.read(int.from_bytes(header, "big")))
    os._exit(0)


def _answer(request: bytes) -> bytes:
    """Pickle of (True, result) or (False, the exception)."""
    try:
        module, name, args, kwargs = pickle.loads(request)  # noqa: S301  from our own node
        function = attrgetter(name)(importlib.import_module(module))
        return pickle.dumps((True, function(*args, **kwargs)))
    except BaseException as error:  # noqa: BLE001  whatever it is, the caller hears of it
        return pickle.dumps((False, _portable(error)))


def _portable(error: BaseException) -> BaseException:
    """The exception with its trace as a note; one that cannot cross is told as an internal error.

    Want of memory is an OSError, as elsewhere: it is no bug, and passes.
    """
    if isinstance(error, MemoryError):
        want = OSError(errno.ENOMEM, f"a worker process: {os.strerror(errno.ENOMEM)}")
        want.__cause__, error = error, want
    error.add_note(f"in a worker process:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  an exception's own code decides what it raises here
        return RingmillError("".join(traceback.format_exception(error)), outcome="unknown")
    return error


if __name__ == "__main__":
    main()
