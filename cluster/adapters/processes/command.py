"""Starts a program for a task and passes lines through it: `ringmill.Command`.

It runs as a child of the task process, with its limits, its folder and its environment, so it is ended with
everything else that the task has started.  One loop feeds its stdin and takes its stdout and stderr, so no
pipe that is full holds up another.  Its stderr goes to the log of the attempt, and the end of it into the
message when the program fails.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.commands import ExternalCommand
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown

__all__ = ["Command"]

_PIPE_BYTES: Final = 64 << 10
_READ_BYTES: Final = 1 << 20
_LONGEST_LINE_BYTES: Final = 64 << 20
_TAIL_BYTES: Final = 1000
_LOOK_S: Final = 0.1  # between looks at a program without outputs: a child of it may hold its stdin


@dataclass(frozen=True)
class Command(ExternalCommand):
    """A program in place of map or reduce: it reads lines from stdin and writes lines to stdout.

    `argv` is the program with its arguments; no shell is between.  Parts that begin with ./ or ../ are
    files; they are side data, so they have to lie where all nodes see them, at the same paths, and may not
    change while the job runs.  `gives` is "pairs", lines of key TAB value, or "lines", which are written as
    they are (with FileOutput("lines")).

    A program that ends with another status than 0 fails the attempt as the job's own code does.  In its
    environment are RINGMILL_TASK ("map-3") and RINGMILL_PARAM_NAME for each parameter of the job.

    Raises InvalidArgument.
    """

    argv: tuple[str, ...]
    gives: Literal["pairs", "lines"] = "pairs"

    def __init__(self, argv: Sequence[str], gives: Literal["pairs", "lines"] = "pairs") -> None:
        given: object = argv
        if (
            isinstance(given, str | bytes)
            or not isinstance(given, Sequence)
            or not given
            or not all(isinstance(part, str) and part and "\0" not in part for part in given)
        ):
            raise InvalidArgument(
                f"a command is a list of texts, not {shown(argv, 100)}",
                hint='for example Command(["./mapper.py", "--fast"])',
            )
        if gives not in ("pairs", "lines"):
            raise InvalidArgument(f"gives is 'pairs' or 'lines', not {shown(gives, 40)}")
        object.__setattr__(self, "argv", tuple(given))
        object.__setattr__(self, "gives", gives)

    def through(self, blocks: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """What the program makes of these lines.  Raises TaskFailed."""
        program = self._started(context)
        try:
            passing = _Passing(program, blocks)
            yield from passing.lines()
            status = program.wait()
            if status:
                stderr = passing.tail.decode("utf-8", "replace").strip()
                said = f"; its stderr ends: {stderr}" if stderr else ""
                raise TaskFailed(Cause.USER_ERROR, f"{self.title} {_end_of(status)}{said}")
        finally:
            if program.poll() is None:
                program.kill()
                program.wait()
            for pipe in (program.stdin, program.stdout, program.stderr):
                if pipe is not None:
                    pipe.close()

    def _started(self, context: Context) -> subprocess.Popen[bytes]:
        parameters = {f"RINGMILL_PARAM_{name}": value for name, value in context.params.items()}
        try:
            return subprocess.Popen(
                self.line(context),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, **parameters, "RINGMILL_TASK": context.task},
            )
        except (OSError, ValueError) as error:
            raise TaskFailed(Cause.USER_ERROR, f"{self.title} cannot be started: {error}") from error


class _Passing:
    """Feeds a program and takes what it says, until both of its outputs end and it reads no more."""

    def __init__(self, program: subprocess.Popen[bytes], blocks: Iterator[bytes]) -> None:
        self._program = program
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        self._in, self._out, self._err = program.stdin, program.stdout, program.stderr
        self._blocks = blocks
        self._left = memoryview(b"")
        self._torn = bytearray()  # the beginning of a line
        self.tail = b""

    def lines(self) -> Iterator[bytes]:
        """Blocks of whole lines.  Raises what the blocks raise, and TaskFailed for a line without an end."""
        with selectors.DefaultSelector() as ready:
            for pipe in (self._in, self._out, self._err):
                os.set_blocking(pipe.fileno(), False)
                ready.register(pipe, selectors.EVENT_WRITE if pipe is self._in else selectors.EVENT_READ)
            outputs = 2
            while outputs or (not self._in.closed and self._program.poll() is None):
                for key, _ in ready.select(None if outputs else _LOOK_S):
                    goes_on = True
                    if key.fileobj is self._in:
                        goes_on = self._feed()
                    elif key.fileobj is self._err:
                        goes_on = self._listen()
                    elif data := self._out.read(_READ_BYTES):
                        if whole := self._whole(data):
                            yield whole
                    else:
                        goes_on = data is None  # nothing yet
                    if not goes_on:
                        outputs -= key.fileobj is not self._in
                        ready.unregister(key.fileobj)
                        if key.fileobj is self._in:
                            self._in.close()
        if self._torn:
            yield bytes(self._torn) + b"\n"

    def _feed(self) -> bool:
        """Write what the pipe takes; False at the end of the input, or when the program reads no more."""
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._left = memoryview(block)
        try:
            written = os.write(self._in.fileno(), self._left[:_PIPE_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # as in a shell: a program may stop reading, its status tells the rest
            return False
        self._left = self._left[written:]
        return True

    def _whole(self, data: bytes) -> bytes:
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._torn += data
            if len(self._torn) > _LONGEST_LINE_BYTES:
                raise TaskFailed(
                    Cause.USER_ERROR,
                    f"a command wrote {len(self._torn)} bytes without a line feed; a line may have "
                    f"{_LONGEST_LINE_BYTES}",
                )
            return b""
        whole = bytes(self._torn) + data[:cut]
        self._torn[:] = data[cut:]
        return whole

    def _listen(self) -> bool:
        data = self._err.read(_PIPE_BYTES)
        if not data:
            return data is None
        self.tail = (self.tail + data)[-_TAIL_BYTES:]
        sys.stderr.write(data.decode("utf-8", "replace"))
        return True


def _end_of(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
