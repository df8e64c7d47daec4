"""Sum up web access logs: requests, errors and bytes of each route, and the lines that are not log lines.

    ringmill job run examples/log_analysis.py:log_analysis --input 'logs/*.log' --output by-route

Logs have lines that were cut off or mixed up.  They are counted, and a few of each file are kept to look at.
`strict_log_analysis` sets them aside instead, up to 1,000 of them, in the file _BAD_RECORDS of the output,
with the place and the error of each; with more the job fails.
"""

import re
from collections.abc import Iterable, Iterator

from ringmill import Context, FileInput, FileOutput, job

LINE = re.compile(r'\S+ \S+ \S+ \[[^]]+\] "(\S+) ([^ ?]+)\S* HTTP/[\d.]+" (\d{3}) (\d+|-)')
"""The common log format: host, identity, user, [time], "method target version", status, bytes."""

KEPT = 3
NO_LOG_LINE = "no log line"

Sums = tuple[int, int, int, list[str]]
"""Requests, answers of 500 and above, bytes, examples."""


def request_of(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, Sums]]:
    found = LINE.match(line)
    if found is None:
        ctx.count("no log lines")
        yield NO_LOG_LINE, (1, 0, 0, [f"{ctx.path} offset {offset}: {line[:80]}"])
        return
    method, route, status, size = found.groups()
    yield f"{method} {route}", (1, int(status >= "500"), 0 if size == "-" else int(size), [])


def checked_request_of(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, Sums]]:
    if LINE.match(line) is None:
        raise ValueError("no log line")
    yield from request_of(offset, line, ctx)


def summed(route: str, sums: Iterable[Sums]) -> Iterator[tuple[str, Sums]]:
    """Add up sums of a route: some of them or all, so it combines as well as it reduces."""
    requests = errors = size = 0
    kept: list[str] = []
    for one in sums:
        requests, errors, size = requests + one[0], errors + one[1], size + one[2]
        kept = (kept + one[3])[:KEPT]
    yield route, (requests, errors, size, kept)


log_analysis = job(
    map=request_of,
    combine=summed,
    reduce=summed,
    input=FileInput(format="lines"),
    output=FileOutput(format="jsonl"),
    reducers=1,
)

strict_log_analysis = job(
    map=checked_request_of,
    combine=summed,
    reduce=summed,
    input=FileInput(format="lines"),
    output=FileOutput(format="jsonl"),
    reducers=1,
    on_bad_record="quarantine:1000",
)
