"""The sums of each route against counting by hand, with lines that are no log lines among them."""

from __future__ import annotations

import json
from pathlib import Path

from examples.log_analysis import NO_LOG_LINE, log_analysis, strict_log_analysis
from ringmill import broken_laws, run_local
from tests.examples.records import records_of

LINE = '127.0.0.1 - - [01/May/2024:12:00:00 +0000] "{request} HTTP/1.1" {status} {size}\n'


def test_each_route_has_its_sums_and_what_is_not_a_log_line_is_kept(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    requests = [
        ("GET /", 200, "100"), ("GET /cart?id=1", 200, "7"), ("GET /cart?id=2", 503, "-"),
        ("POST /cart", 500, "3"), ("GET /", 304, "-"),
    ]  # fmt: skip
    lines = [LINE.format(request=request, status=status, size=size) for request, status, size in requests]
    cut_off = '127.0.0.1 - - [01/May/2024:12:00:00 +0000] "GE\n'
    (logs / "a.log").write_text("".join(lines[:3]) + cut_off)
    (logs / "b.log").write_text("".join(lines[3:]) + 5 * "what is this\n")
    result = run_local(log_analysis, str(logs), str(tmp_path / "out"))
    sums = dict(records_of(tmp_path / "out"))
    bad = sums.pop(NO_LOG_LINE)
    assert sums == {"GET /": [2, 0, 100, []], "GET /cart": [2, 1, 7, []], "POST /cart": [1, 1, 3, []]}
    assert bad[:3] == [6, 0, 0]
    assert bad[3][0] == f"{logs}/a.log offset {sum(map(len, lines[:3]))}: {cut_off.strip()}"
    assert len(bad[3]) == 3
    assert result.counters["no log lines"] == 6


def test_bad_lines_are_set_aside_each_once(tmp_path: Path) -> None:
    lines = [LINE.format(request="GET /", status=200, size=size) for size in range(30)]
    lines[7], lines[20] = "cut of\n", "\n"
    (tmp_path / "a.log").write_text("".join(lines))
    result = run_local(strict_log_analysis, str(tmp_path / "a.log"), str(tmp_path / "out"))
    bad = [json.loads(line) for line in (tmp_path / "out" / "_BAD_RECORDS").read_text().splitlines()]
    places = [sum(map(len, lines[:number])) for number in (7, 20)]
    assert [(each["offset"], each["record"]) for each in bad] == [(places[0], "cut of"), (places[1], "")]
    assert all(each["error"] == "ValueError: no log line" for each in bad)
    assert dict(records_of(tmp_path / "out"))["GET /"][0] == 28
    assert result.records["bad"] == 2


def test_it_keeps_the_laws_of_a_combine() -> None:
    lines = [LINE.format(request="GET /", status=200, size=size).strip() for size in range(50)]
    assert not broken_laws(log_analysis, [*lines, *(9 * ["?"])])
