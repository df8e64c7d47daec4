"""What becomes of stdout and stderr when they are closed, or when nobody reads them any more.

A verb whose reader has gone goes on, and what it prints goes to /dev/null: its work is done and its code is
told, as in `ringmill job run … | head`.  Only verbs that do nothing but print, perhaps without an end, are
ended by that, as in `ringmill scan | head`.  A stderr that nobody reads ends nothing, nor one that cannot be
written.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import IO, TYPE_CHECKING, Final, TextIO, cast

from ringmill.client.cli.console.failure_text import FileFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "ENDED_BY_THEIR_READER", "NobodyReads", "abandon", "flush_stdout", "mend", "prints_on_stderr", "runs",
]  # fmt: skip

ENDED_BY_THEIR_READER: Final = frozenset({
    "ringmill cluster logs", "ringmill engine dump", "ringmill get", "ringmill job logs",
    "ringmill job output", "ringmill mget", "ringmill scan", "ringmill top", "ringmill watch",
})  # fmt: skip


class NobodyReads(BrokenPipeError):
    """The reader of stdout has gone, and the verb is one that ends then."""


class _Lasting(io.FileIO):
    """An output that goes to /dev/null once nobody reads it, unless that ends the verb.

    It takes all that it is given or raises: with PYTHONUNBUFFERED nobody above it writes the rest of what a
    full disk took a part of.
    """

    verb = ""

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                taken = super().write(left)
                if taken is None:  # another program has made it not block
                    _wait_writable(self.fileno())
                left = left[taken or 0 :]
        except BrokenPipeError as error:
            if self.fileno() == 1 and _Lasting.verb in ENDED_BY_THEIR_READER:
                raise NobodyReads(*error.args) from error
            abandon(self.fileno())
        except OSError:
            if self.fileno() != 2:
                raise
            abandon(2)  # as a log on a full disk: the verb and its code are worth more than its notes
        return size


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def runs(verb: str) -> None:
    """Note that this verb is about to run."""
    _Lasting.verb = verb


def mend() -> None:
    """Replace closed output streams and those that fail, and let none fail on a character it cannot encode.

    The system would give a closed stream's descriptor to the next socket, and an error meant for a closed
    stderr would be printed among the answers.  A closed stdin stays None, so that a verb that reads it can
    report that.
    """
    runs("")
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _lasting(stream: TextIO) -> TextIO:
    """The output over a `_Lasting`; other kinds of streams, as of tests, stay as they are."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # not with PYTHONUNBUFFERED
    if type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO or stream.fileno() not in {1, 2}:
        return stream
    stream.flush()
    raw = _Lasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw) if is_buffered else cast("IO[bytes]", raw),
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def flush_stdout() -> None:
    """Raises FileFailed when the answer cannot be written, NobodyReads when nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(1)
        raise FileFailed(f"the answer cannot be written to stdout: {error.strerror}") from error


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Meanwhile what is printed on stdout goes to stderr, also by processes that begin within: what the code
    of others prints is no part of an answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        # A terminal shows lines as they come, and a debugger edits its own only on the stream of stdout.
        with nullcontext() if sys.stdout.isatty() else redirect_stdout(sys.stderr):
            yield
    finally:
        for stream in (sys.stdout, sys.__stdout__):
            if stream is not None and not stream.closed:
                stream.flush()
        os.dup2(kept, 1)
        os.close(kept)


def abandon(descriptor: int) -> None:
    """Send what is left to /dev/null, so that the interpreter's last flush prints no error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
