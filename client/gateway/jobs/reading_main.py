"""Entry of the processes that import the modules of callers: the only place where the gateway runs such code.

    python -P -m ringmill.client.gateway.jobs.reading_main --forkserver FD

Each process serves one submission and ends.  Before it imports anything of the caller it is contained, as
tasks are: it reads the software of this machine and the sources that were sent, but none of the files that
the gateway keeps to itself.  It writes no byte to a file, though it may make empty ones in /dev/shm.
It opens no connections.  Then the module is loaded and described as `ringmill job run` does it.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
from collections.abc import Mapping, Sequence

from ringmill.client.gateway.jobs.reading_order import ReadingOrder, answer_of_error, answer_of_job
from ringmill.client.gateway.jobs.sent_sources import plain_sources
from ringmill.client.jobs.job_ends import names_output
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.client.jobs.job_packing import described_job
from ringmill.cluster.adapters.containment.contain import contain, prepare_to_contain
from ringmill.cluster.adapters.containment.refusals import hint_of
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.forkserver import Forkserver, TaskPipe
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.messages.reach import Reach

__all__ = ["main", "read_module"]

_HINT = "it is imported without files and connections: what needs them belongs into the job's functions"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--forkserver":
        sys.stderr.write("this is started by a gateway: --forkserver FD\n")
        return 2
    prepare_to_contain()
    gc.freeze()  # objects made before the fork stay shared with the children
    Forkserver(socket.socket(fileno=int(arguments[1])), read_module).run()
    return 0


def read_module(connection: socket.socket) -> None:
    """Answer one order."""
    pipe = TaskPipe(connection)
    if (message := pipe.receive()) is not None:
        pipe.send(_answer(ReadingOrder.decode(message)))


def _answer(order: ReadingOrder) -> bytes:
    root = f"{os.getcwd()}/sources"
    try:
        return _packed(order, root)
    except RingmillError as error:
        return answer_of_error(*(text.replace(f"{root}/", "") for text in (error.message, error.hint)))
    except (RecursionError, MemoryError) as error:
        return answer_of_error(f"the sources cannot be read: {type(error).__name__}", "")


def _packed(order: ReadingOrder, root: str) -> bytes:
    """Raises RingmillError."""
    request = order.request
    _write(root, plain_sources(request.sources))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # Landlock leaves /dev/shm open to it
    contained = contain(Reach((root,), (), (), order.secrets, network=False))
    if order.folder:
        os.chdir(order.folder)  # where what is staged has its place; nothing there is looked at
    try:
        loaded = load_job_module(request.target, OsFileSystem(), root)
    except RingmillError as error:
        raise InvalidArgument(
            error.message, hint=_HINT if hint_of(error, contained) else error.hint
        ) from error
    output = request.output
    if output is None and order.folder and not names_output(loaded.definition):
        output = f"{order.folder}/{order.job}"
    spec = described_job(loaded, order.job, request.input, output, request.options)
    return answer_of_job(loaded.bundle.data, loaded.module, spec.encode())


def _write(root: str, sources: Mapping[str, bytes]) -> None:
    for path, content in sources.items():
        os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
        with open(f"{root}/{path}", "xb") as file:
            file.write(content)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
