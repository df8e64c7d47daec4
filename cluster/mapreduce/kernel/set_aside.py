"""Sets records aside at which a job's map, or the parser of their format, raises an error.

Such a record gives nothing, not even the pairs that map gave or what it counted before the error; the task
goes on.  The
records travel as one partition more of the map's run, each as a line of JSON, in the order of the input, and
a task of their own writes them beside the parts.  So they come from the attempts that count, like all output,
and once (rule J19).

An OSError or a MemoryError says nothing about the record, and fails the attempt.

Layout: docs/formats/job.md, "Bad records".
"""

from __future__ import annotations

import json
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec, value_codec
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, as_raised, shown
from ringmill.cluster.mapreduce.files.readers import SplitReader

__all__ = ["LINES", "SetAside"]

LINES: Final[ValueCodec] = value_codec(bytes, "bad records")
"""How their lines cross the shuffle."""
_RECORD_CHARS: Final = 16 * 1024
_MESSAGE_CHARS: Final = 1000
_TOLD: Final = 3  # in the log of an attempt, which is for what the job's code says
_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]+\b")  # of an object: another one in every process


class SetAside:
    """The records that one attempt of a map has set aside; it also takes those that `reader` cannot parse.

    At most `most`, then it raises TaskFailed.
    """

    def __init__(self, most: int, user_files: Iterable[str], reader: SplitReader, context: Context) -> None:
        self._most = most
        self._user_files = frozenset(user_files)
        self._reader = reader
        self._context = context
        self._lines: list[tuple[int, int, bytes]] = []  # piece, and place in it
        reader.refused = self.add
        context.counters = self._counters = _CountersOfRecords(context.counters)

    def results_of(
        self, function: Callable[..., Iterable[tuple[Any, Any]]], records: Iterable[tuple[Any, Any]]
    ) -> Iterator[list[tuple[Any, Any]]]:
        """What the function gives for each record that is not bad.  Raises what is no record's fault."""
        for key, value in records:
            self._counters.before.clear()
            try:
                pairs = list(function(key, value))
            except (OSError, MemoryError, TaskFailed):
                raise
            except Exception as error:
                raised = as_raised(error, self._user_files)
                where = _place(raised, self._user_files)
                if not where:  # not from the function: what it returned cannot be gone through
                    raise
                self._counters.forget()
                self.add(key, value, raised, where)
            else:
                yield pairs

    def add(self, key: Any, value: Any, error: BaseException, where: str = "") -> None:
        """Set one aside.  Raises TaskFailed when there are too many."""
        message = _ADDRESS.sub("0x...", f"{type(error).__name__}: {error}")[:_MESSAGE_CHARS]
        piece, path, unit = self._reader.place
        position = f"{path} {unit} {key}" if unit else path
        if len(self._lines) >= self._most:
            raise TaskFailed(
                Cause.USER_ERROR,
                f"more than {self._most} bad records, as many as may be set aside; this one: {message}",
                (where,) if where else (),
                position,
                shown(value, 200),
            )
        said = {"file": path, **({unit: _text(key)} if unit else {}), "error": message, "where": where}
        line = json.dumps({**said, "record": _text(value)}, separators=(",", ":")) + "\n"
        # A parser is ahead of map by a block, so places count where it tells them; other keys are the user's.
        at = key if unit in ("offset", "line") else len(self._lines)
        self._lines.append((piece, at, line.encode("ascii")))
        if len(self._lines) <= _TOLD:
            self._context.log(f"set aside {position}: {message}")

    def lines(self) -> list[bytes]:
        """Their lines, in the order of the input."""
        self._lines.sort(key=lambda line: line[:2])
        return [line for _, _, line in self._lines]


class _CountersOfRecords(Counter[str]):
    """Counters that know what they were before the present record, if it has changed them."""

    def __init__(self, counted: Mapping[str, int]) -> None:
        self.before: dict[str, int | None] = {}
        super().__init__(counted)

    def __setitem__(self, name: str, total: int) -> None:
        self.before.setdefault(name, self.get(name))
        super().__setitem__(name, total)

    def forget(self) -> None:
        """The record has counted nothing."""
        for name, was in self.before.items():
            if was is None:
                del self[name]
            else:
                super().__setitem__(name, was)
        self.before.clear()


def _place(error: BaseException, user_files: frozenset[str]) -> str:
    """ "FILE:LINE in NAME()" of the innermost frame of the job's own; "" when it has none."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in user_files]
    return f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno} in {own[-1].name}()" if own else ""


def _text(value: Any) -> Any:
    """The record as JSON has it; its beginning as text where it is long, or has no such form."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value[:_RECORD_CHARS]
    try:
        if len(json.dumps(value)) <= _RECORD_CHARS:
            return value
    except (TypeError, ValueError):
        pass
    return shown(value, _RECORD_CHARS)
