"""Which lines of a log are of records since a time, or of a level, in either form that the log may have.

The forms are those of log_lines.py and log_events.py beside it.  A node that was started with another form
goes on in the same file, so each line is looked at for itself.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime
from typing import Final

__all__ = ["LEVELS", "RecordFilter"]

LEVELS: Final = ("info", "warning", "error")
"""What a node logs, least first."""

_RECORD: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([A-Z]+) +\S")
_MORE_OF_A_RECORD: Final = "    "


class RecordFilter:
    """Tells of one line of one log after the other, in their order, whether it is to be shown.

    Shown are records from `since` on, and from `level` on; None stands for all.  What is behind a record of
    since then in its log was written since then, whatever its time says, as a clock may be set back.  What
    the process prints by itself, as the trace of a crash, has no level, so it is shown at each; its time is
    the last record's.
    """

    def __init__(self, since: datetime | None, level: str | None) -> None:
        # records have milliseconds, rounded down
        self._since = since and since.replace(microsecond=since.microsecond // 1000 * 1000)
        self._least = 0 if level is None else _rank(level)
        self._is_since = self._is_shown = since is None

    def shows(self, line: str) -> bool:
        """Whether this line, the next one of its log, is to be shown."""
        if record := _RECORD.match(line):
            self._take(record[1], record[2])
        elif line.startswith("{") and (found := _time_and_level(line)):
            self._take(*found)
        elif not line.startswith(_MORE_OF_A_RECORD):
            self._is_shown = self._is_since
        return self._is_shown

    def show_what_comes(self) -> None:
        """What comes from now on is of since then: only the level matters."""
        self._is_since = True

    def _take(self, time: str, level: str) -> None:
        self._is_since = self._is_since or _is_from(time, self._since)
        self._is_shown = self._is_since and _rank(level) >= self._least


def _is_from(time: str, since: datetime | None) -> bool:
    """Whether a time may be `since` or later; a text that is no time is not.

    Lines for people name no zone: each time of an hour that comes twice, as when clocks are set back in
    autumn, is taken for the later one.
    """
    try:
        at = datetime.fromisoformat(time)
        return since is None or (at if at.tzinfo else at.replace(fold=1).astimezone()) >= since
    except (ValueError, OverflowError):
        return False


def _rank(level: str) -> int:
    return logging.getLevelNamesMapping().get(level.upper(), logging.CRITICAL)


def _time_and_level(line: str) -> tuple[str, str] | None:
    """Those of a record in JSON; None for another line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    at, level = record.get("time"), record.get("level")
    return (at, level) if isinstance(at, str) and isinstance(level, str) else None
