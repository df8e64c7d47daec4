"""Lines of a log are chosen by time and level in both forms that a node writes."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ringmill.cluster.logs.log_events import log_as_json
from ringmill.cluster.logs.log_lines import log_by
from ringmill.cluster.logs.record_filter import RecordFilter

BEGIN = datetime(2026, 11, 30, 18, 0, 0, 500_000, tzinfo=UTC)
TRACE = "Fatal Python error: Aborted\n\nCurrent thread:\n    no Python frame\n"
Written = Callable[..., list[str]]


@pytest.fixture(params=["people", "json", "both"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Written:
    """The lines that a process writes which logs (seconds after BEGIN, level, text) or prints a text."""
    stream, root = io.StringIO(), logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "getLogger", lambda name=None: root)
    log_by(logging.StreamHandler(stream))
    of_people = root.handlers[0].formatter
    log_as_json("n1")
    of_json = root.handlers[0].formatter

    def write(*said: str | tuple[float, str, str]) -> list[str]:
        for number, each in enumerate(said):
            if isinstance(each, str):
                stream.write(each)
                continue
            after_s, level, text = each
            is_json = request.param == "json" or (request.param == "both" and number % 2 == 0)
            root.handlers[0].setFormatter(of_json if is_json else of_people)
            record = root.makeRecord("n", logging.getLevelNamesMapping()[level], "f", 1, text, (), None)
            record.created = (BEGIN + timedelta(seconds=after_s)).timestamp()
            record.msecs = int(record.created % 1 * 1000)
            root.handle(record)
        return stream.getvalue().splitlines()

    return write


def shown(lines: list[str], since: datetime | None, level: str | None) -> list[str]:
    chosen = RecordFilter(since, level)
    return [line for line in lines if chosen.shows(line)]


def test_records_are_shown_from_a_time_and_a_level_on(written: Written) -> None:
    lines = written(
        (-1, "ERROR", "long ago"),
        (-0.001, "WARNING", "just before"),
        (0, "INFO", "at once"),
        (1, "WARNING", "later"),
        (2, "CRITICAL", "last"),
    )
    assert shown(lines, None, None) == lines
    assert shown(lines, BEGIN, None) == lines[2:]
    assert shown(lines, None, "warning") == [*lines[:2], *lines[3:]]
    assert shown(lines, BEGIN, "warning") == lines[3:]
    assert shown(lines, BEGIN, "error") == lines[4:]
    elsewhere = BEGIN.astimezone(datetime.strptime("-0730", "%z").tzinfo)
    assert shown(lines, elsewhere, "info") == lines[2:], "a time is the same in each zone"


def test_what_was_written_after_a_record_since_then_is_shown_when_the_clock_was_set_back(
    written: Written,
) -> None:
    lines = written((-2, "ERROR", "before"), (1, "INFO", "after"), (-3600, "ERROR", "set back"), TRACE)
    assert shown(lines, BEGIN, None) == lines[1:]
    assert shown(lines, BEGIN, "error") == lines[2:]


def test_what_comes_is_shown_whatever_its_time_says(written: Written) -> None:
    lines = written((-2, "ERROR", "before"), (-3600, "INFO", "fine"), (-3600, "ERROR", "set back"))
    chosen = RecordFilter(BEGIN, "warning")
    assert not chosen.shows(lines[0])
    chosen.show_what_comes()
    assert [line for line in lines[1:] if chosen.shows(line)] == lines[2:]


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clocks are set back at 01:00 UTC on 25 October 2026."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_in_the_hour_that_comes_twice_no_record_since_then_is_left_out(berlin: None) -> None:
    """Lines for people name no zone, so some from before may be shown."""
    change = datetime(2026, 10, 25, 1, tzinfo=UTC)

    def found(since_minutes: int, *record_minutes: int) -> list[int]:
        """Which of the records, by minutes after the change, are shown alone."""
        since = change + timedelta(minutes=since_minutes)
        lines = {
            each: f"{(change + timedelta(minutes=each)).astimezone():%Y-%m-%d %H:%M:%S},000 INFO    x  m"
            for each in record_minutes
        }
        return [each for each, line in lines.items() if RecordFilter(since, None).shows(line)]

    assert found(-5, -70, -61, -6, -4, 1, 5, 70) == [-6, -4, 1, 5, 70]
    assert found(-61, -62, -61, -59, 1) == [-61, -59, 1]
    assert found(30, -61, -31, -29, 29, 30, 70) == [-29, 30, 70]
    assert found(61, 59, 60, 61) == [61]


def test_what_has_no_level_has_the_time_of_the_record_before_it_and_is_shown_at_each(
    written: Written,
) -> None:
    before, after = written((-1, "INFO", "before"), TRACE), [*TRACE.splitlines()]
    assert shown(before, None, "error") == after
    assert shown(before, BEGIN, None) == []
    lines = written((1, "INFO", "after"), TRACE)
    assert shown(lines, BEGIN, "error") == after
    assert shown(['{"time": 5, "level": "error"}', "{}", "{x", "[]"], None, "error") == [
        '{"time": 5, "level": "error"}', "{}", "{x", "[]",
    ]  # fmt: skip


def test_the_further_lines_of_a_record_go_with_it(written: Written) -> None:
    lines = written(
        (0, "INFO", "a list:\nof two\n2026-11-30 18:00:00,500 ERROR forged"), (1, "ERROR", "bad:\nso")
    )
    errors = shown(lines, None, "error")
    assert errors and not any("forged" in line for line in errors)
    assert lines[-len(errors) :] == errors and "so" in errors[-1]
