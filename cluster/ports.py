"""The five doors to the world: everything that is not computation goes through one of these.

The same code runs in production (cluster/adapters) and in the simulator (simulator/), because it asks a
door and never the operating system.  scripts/tidy.py refuses time, randomness, sockets, threads and files
outside the adapters.  Timers are the event loop's own: `asyncio.sleep`, `asyncio.timeout`.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.traces.spans import Span

__all__ = [
    "AppendFile",
    "Arrival",
    "BatchHandler",
    "BatchTransport",
    "Children",
    "Clock",
    "Ended",
    "Entropy",
    "FileLock",
    "FileSystem",
    "Handler",
    "Incoming",
    "Priority",
    "ReadFile",
    "Spawner",
    "TaskProcess",
    "TaskStarter",
    "Transport",
]

Buffer: TypeAlias = bytes | bytearray | memoryview  # collections.abc.Buffer begins with Python 3.12
P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """This node's clocks, in seconds.  Only differences of `monotonic` and of `boottime` mean anything."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump either way."""
        ...

    def monotonic(self) -> float:
        """Never goes back; may stand still while the machine sleeps.  The loop's timers follow it."""
        ...

    def boottime(self) -> float:
        """Like monotonic, but counts the time the machine slept (CLOCK_BOOTTIME where there is one)."""
        ...


class CoreTime(NamedTuple):
    """What the thread of the loop has had of the processors so far, in seconds."""

    ran_s: float = 0.0
    waited_s: float = 0.0  # for its turn, while others ran


class MemoryLeft(NamedTuple):
    """What can still be had of a memory, the page cache that can be given back counted, in bytes."""

    left_bytes: int
    of_bytes: int  # all that it has; 0 where nobody tells
    whose: str = "machine"  # or "cgroup"


class Entropy(Protocol):
    """Randomness by name, so that a seed can replay it."""

    def random_bytes(self, purpose: str, size: int) -> bytes:
        """`size` unpredictable bytes from the stream named `purpose`."""
        ...

    def uniform(self, purpose: str) -> float:
        """A float in [0, 1) from the stream named `purpose` (jitter, shuffles, probe order)."""
        ...


class Priority(IntEnum):
    """Class of a message, which decides its queue, its share and its stream (rule F1)."""

    CONTROL = 0
    WRITE = 1
    READ = 2
    REPAIR = 3
    BULK = 4


@dataclass(frozen=True, slots=True)
class Incoming:
    """One call that arrived: who sent it, what it asks, and until when an answer is of use."""

    sender: NodeId  # the dialling node; "" for a client
    method: str
    body: bytes
    deadline: float  # on this node's Clock.boottime(), seconds
    priority: Priority


Handler = Callable[[Incoming], bytes | Awaitable[bytes]]
"""Answers one call: at once with bytes, or with an awaitable that the transport runs as a task.

A RingmillError raised by it crosses back to the caller as itself."""


class Arrival(Protocol):
    """One call of a batch: what `Incoming` tells, and the way back.  One of three methods ends it, once."""

    @property
    def sender(self) -> NodeId: ...
    @property
    def method(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def deadline(self) -> float: ...
    @property
    def span(self) -> Span | None:
        """The span of what is done for the call; None when it is not traced."""
        ...

    on_end: Callable[[Arrival], None] | None
    """Called once when it ends."""

    def answer(self, body: bytes) -> None:
        """The call was done."""
        ...

    def fail(self, error: Exception) -> None:
        """The call has failed: a RingmillError crosses as itself, any other is a bug of this node."""
        ...

    def answer_later(self, result: Awaitable[bytes]) -> None:
        """A task of the transport awaits `result` and ends the call by it."""
        ...


BatchHandler = Callable[[Sequence[Arrival]], None]
"""Answers the calls of a frame whose methods have this handler, in their order, each at once or later.

It raises nothing."""

Ended = Callable[[bytes | RingmillError], None]
"""Called once with how a call ended: the answer, or what `Transport.call` would raise."""


class Transport(Protocol):
    """Calls between nodes, by id.  Messages cross as encoded bytes, frames are the adapter's business."""

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Learn where nodes listen ("host:port"); a node not named any more is disconnected."""
        ...

    def serve(self, method: str, handler: Handler) -> None:
        """Answer calls of `method`; an unknown method is refused as ProtocolMismatch."""
        ...

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        """Ask a node and wait for its answer.  The call arrives at most once: nothing is sent again.

        Raises what the handler raised; DeadlineExceeded after `timeout_s`; Unavailable when the node cannot
        be reached; Overloaded when too much waits to be sent to it.  The outcome of each is "failed" when
        certainly nothing was sent, else "unknown".
        """
        ...


class BatchTransport(Transport, Protocol):
    """A transport whose calls need no task of their own, on either side."""

    def on_break(self, listener: Callable[[NodeId], None]) -> None:
        """Call `listener` on the loop when a connection to a node breaks that this side has not ended."""
        ...

    def serve_batch(self, method: str, handler: BatchHandler) -> None:
        """Answer calls of `method`, all calls of a frame at a time."""
        ...

    def busy(self) -> Mapping[str, int]:
        """The nodes that have said within the last second that they have more under way than a quarter of
        what they let in: 1 or 2 quarters, or 3 and more."""
        ...

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        """Ask a node without a task that waits.

        `ended` is told what `call` would return or raise, perhaps before this returns.
        """
        ...


class AppendFile(Protocol):
    """A file opened for appending by its only writer."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes appended so far, synced or not."""
        ...

    def append(self, data: Buffer) -> None:
        """Hand bytes to the operating system, unsynced.  Raises OSError; then nothing is certain."""
        ...

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        """Write + fdatasync; earlier unsynced appends become durable too.

        Where a sync is known to be short it may be done before this first waits, unless `off_loop`: for what
        no request waits for.
        """
        ...

    def sync(self) -> None:
        """fdatasync on the calling thread: for child processes and for closing, never on a busy loop."""
        ...

    def close(self) -> None: ...


class ReadFile(Protocol):
    """A file opened for reading at offsets."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file.  May block on the disk."""
        ...

    def pread_cached(self, size: int, offset: int) -> bytes | None:
        """What `pread` returns if the page cache has it, else None.  Never blocks on the disk.

        Where the system cannot tell, it reads.
        """
        ...

    async def pread_off_loop(self, size: int, offset: int) -> bytes:
        """What `pread` returns, read by a thread."""
        ...

    def close(self) -> None: ...


class FileLock(Protocol):
    """An exclusive lock of one process on one file; it ends with the process."""

    def release(self) -> None: ...


class FileSystem(Protocol):
    """Files by path string.  Errors are OSError with errno and filename; nothing is retried here.

    It can be handed to a child process (Spawner.run); open files cannot.
    Names become durable with `fsync_dir` of their folder, content with a sync of the file.
    """

    def create(self, path: str) -> AppendFile:
        """A new empty file (O_EXCL): FileExistsError when the name is taken."""
        ...

    def open_append(self, path: str) -> AppendFile:
        """An existing file, opened at its end."""
        ...

    def open_read(self, path: str) -> ReadFile: ...

    def open_below(self, folder: str, path: str) -> ReadFile:
        """A regular file below a folder in which others write: a link on the way from there is an error."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file."""
        ...

    def mkdir(self, path: str) -> None:
        """Make a folder and its parents; one that exists is left as it is."""
        ...

    def make_folder(self, path: str) -> None:
        """Make a new folder, its parents not.

        FileExistsError when the name is taken, also by a link.
        """
        ...

    def fsync_dir(self, path: str) -> None: ...

    def truncate(self, path: str, size: int) -> None:
        """Cut a file and sync it."""
        ...

    def rewrite(self, path: str) -> None:
        """Write what a file holds over itself and sync it.

        After a failed sync the system may keep bytes that it will never write by itself, and call a later
        sync of them a success ("fsyncgate"; Rebello et al., USENIX ATC 2020).
        """
        ...

    def rename(self, source: str, target: str) -> None:
        """Atomic; an existing target file is replaced."""
        ...

    def link(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def remove_tree(self, path: str) -> None:
        """Delete a folder and all in it; a missing one is not an error."""
        ...

    def list(self, path: str) -> list[str]:
        """Names in a folder, sorted."""
        ...

    def exists(self, path: str) -> bool: ...

    def is_dir(self, path: str) -> bool: ...

    def is_file(self, path: str) -> bool:
        """Whether it is a regular file, links followed: no folder, pipe, socket or device."""
        ...

    def is_link(self, path: str) -> bool:
        """Whether the name itself is a symbolic link."""
        ...

    def size(self, path: str) -> int: ...

    def mtime_ns(self, path: str) -> int:
        """When a file was last modified, in nanoseconds."""
        ...

    def lock(self, path: str) -> FileLock:
        """Take the lock file, made when missing; BlockingIOError when another process holds it."""
        ...

    def free_space(self, path: str) -> int:
        """Bytes that an unprivileged writer may still use on the file system of `path`."""
        ...

    def free_files(self, path: str) -> int:
        """How many files it may still make there; many where the system has no such limit."""
        ...

    def paced(self, bytes_per_s: float) -> FileSystem:
        """These files for a child: it sleeps in `ReadFile.pread` so that it reads no faster than that.

        Where no time passes in a child (a simulation), it reads as it likes.
        """
        ...

    def apart(self) -> FileSystem:
        """These files with threads of their own, so that what hangs there holds up nobody here.

        Raises OSError when the system gives no more threads.
        """
        ...

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one blocking piece of file work (a sync, a folder sync, opening a table) on a thread.

        Cancelling ends the wait, not the call.
        """
        ...


class TaskProcess(Protocol):
    """A process that runs user code, in its own session and process group, with a framed pipe to us."""

    @property
    def pid(self) -> int: ...

    @property
    def is_alive(self) -> bool:
        """Whether it may still answer."""
        ...

    @property
    def peak_bytes(self) -> int:
        """Peak resident memory; 0 until it has ended, and when nobody could tell."""
        ...

    @property
    def breach(self) -> str:
        """The limit for whose breach its family was ended, as `Spawner.start_task` names it; else empty."""
        ...

    async def send(self, message: bytes) -> None:
        """One length-prefixed message to the process.  Raises BrokenPipeError when it is gone."""
        ...

    async def receive(self) -> bytes:
        """The next message of the process.  Raises EOFError when it has ended."""
        ...

    def output(self) -> bytes:
        """The last 1 MiB of its stdout and stderr since `finish_work`."""
        ...

    @property
    def mark(self) -> bytes:
        """What it writes where it prints, after each piece of work of which it was asked for several at once;
        nothing else of it looks like that."""
        ...

    async def finish_work(self) -> bytes:
        """Between two pieces of work: the `output` of the one that is over, all of it.

        What the process has started and left behind is ended.
        """
        ...

    async def wait(self) -> int:
        """Exit code, or minus the signal's number."""
        ...

    def kill(self) -> None:
        """SIGKILL to its whole process group; harmless when it is gone."""
        ...


class Children(Protocol):
    """Runs functions in child processes: the half of the Spawner door that a storage engine needs."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in a child process (flush, compaction) and return its result.

        The function's module must be importable there and may not reach the network.  Cancelling ends it;
        what it raised is raised here, a MemoryError as OSError; a child that dies raises ChildProcessError.
        """
        ...


class TaskStarter(Protocol):
    """Starts task processes: the half of the Spawner door that jobs need."""

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        """Fork a fresh task process whose current folder is `workdir` (entry: ringmill.node.task_main).

        `limits` maps rlimit names ("as_bytes", "cpu_s", "open_files", "file_bytes", "processes") to values,
        and "family_bytes": resident memory that it and its descendants may use together.  Where a memory
        cgroup holds them to that, "as_bytes" is not applied.  Raises ChildProcessError when no process can be
        made.
        """
        ...


class Spawner(Children, TaskStarter, Protocol):
    """Work outside the event loop's process."""

    async def close(self) -> None:
        """End every child that is still there."""
        ...
