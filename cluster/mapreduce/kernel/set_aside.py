"""Sets records aside at which a job's map, or the parser of their format, raises an error.

Such a record gives nothing, not even the pairs that map gave or what it counted before the error; the task
goes on.  The
records travel as one partition more of the map's run, each as a line of JSON, in the order of the input, and
a task of their own writes them beside the parts.  So they come from the attempts that count, like all output,
and once (rule J19).

An OSError says nothing about the record, and fails the attempt.  So does a MemoryError, or a process that
ends while map has a record; where that comes twice at one record, the task is tried again without it
(`fatal`).  Of a keyspace, whose owners may differ, and of a sample the number of a record names none of the
split, so there nothing is left out.

Layout: docs/formats/job.md, "Bad records".
"""

from __future__ import annotations

import copy
import json
import marshal
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import NoneType
from typing import Any, Final

from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec, value_codec
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, as_raised, at_record, classify, shown
from ringmill.cluster.mapreduce.files.readers import SplitReader

__all__ = ["LINES", "SetAside"]

LINES: Final[ValueCodec] = value_codec(bytes, "bad records")
"""How their lines cross the shuffle."""
_RECORD_CHARS: Final = 16 * 1024
_MESSAGE_CHARS: Final = 1000
_UNCHANGING: Final = frozenset({str, bytes, int, float, bool, NoneType})
_TOLD: Final = 3  # in the log of an attempt, which is for what the job's code says
_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]+\b")  # of an object: another one in every process


class SetAside:
    """The records that one attempt of a map has set aside; it also takes those that `reader` cannot parse.

    At most `most`, then it raises TaskFailed.
    """

    def __init__(
        self, most: int, user_files: Iterable[str], reader: SplitReader, context: Context,
        fatal: Iterable[int] = (), at_record: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """`fatal` are records, 1 for the first, at which processes have ended: map does not get them.
        `at_record` is told as `Progress` says; without it numbers are not sure, and none counts."""
        self._fatal = frozenset(fatal if at_record is not None else ())
        self._has_numbers = at_record is not None
        self._at_record = at_record or (lambda _: None)
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
        tell = self._at_record
        for number, (key, value) in enumerate(records, 1):
            if number in self._fatal:
                self.add(key, value, _Fatal("the process ended twice while map had this record"))
                continue
            self._counters.before.clear()
            as_read = _keeping(value)
            tell(number)
            try:
                pairs = list(function(key, value))
            except MemoryError as error:
                failure = classify(error, self._user_files, self._position(key))
                if not self._has_numbers:
                    raise replace(failure, record=shown(as_read(), 200)) from error
                told, place = f"{failure.message}, at {failure.position}", at_record(number)
                raise replace(failure, message=told, position=place, record=shown(as_read(), 200)) from error
            except (OSError, TaskFailed):
                raise
            except Exception as error:
                raised = as_raised(error, self._user_files)
                where = _place(raised, self._user_files)
                if not where:  # not from the function: what it returned cannot be gone through
                    raise
                self._counters.forget()
                self.add(key, as_read(), raised, where)
                continue
            finally:
                tell(0)
            yield pairs

    def _position(self, key: Any) -> str:
        _, path, unit = self._reader.place
        return f"{path} {unit} {key}" if unit else path

    def add(self, key: Any, value: Any, error: BaseException, where: str = "") -> None:
        """Set one aside.  Raises TaskFailed when there are too many."""
        name = "Killed" if isinstance(error, _Fatal) else type(error).__name__
        message = _ADDRESS.sub("0x...", f"{name}: {error}")[:_MESSAGE_CHARS]
        piece, path, unit = self._reader.place
        position = self._position(key)
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


class _Fatal(Exception):
    """In place of an error that map raises."""


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


def _keeping(value: Any) -> Callable[[], Any]:
    """What gives the value as it is now, also when map has changed it: what is set aside is the record as it
    was read.  Most records are never set aside, so the cheapest copy is taken."""
    if type(value) in _UNCHANGING:
        return lambda: value
    try:
        kept = marshal.dumps(value)
    except ValueError:  # a dataclass, or something nested very deeply
        deep = _deep_copy(value)
        return lambda: deep
    return lambda: marshal.loads(kept)  # noqa: S302 - what this process has written


def _deep_copy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever a class of the job's says of being copied
        return value


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
