"""Flags of the gateway that belong to all doors, or to one: none is dropped silently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import click
from click.core import ParameterSource

from ringmill.client.cli.console.settings import bounded_span_s
from ringmill.client.gateway.protection.caller_limits import CallerLimits, WindowLimit
from ringmill.cluster.errors import InvalidArgument

__all__ = ["caller_limits", "check_flags"]

_MOST_IN_WINDOW: Final = 100_000
_NUMBER: Final = re.compile(r"[0-9]{1,7}", re.ASCII)
_NEEDED: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("http",): ("cors_origins", "most_requests", "cache_ttl", "jobs_folder"),
    ("http", "metrics"): ("http_cert", "http_key"),
    ("redis",): ("redis_dbs", "redis_sweep"),
    ("traces",): ("trace_one_in",),
}
"""By the flags without all of which they mean nothing."""


def check_flags(context: click.Context) -> None:
    """Raises InvalidArgument for flags that nothing obeys, as what they are for is not asked for."""
    typed = [
        each
        for each in context.command.params
        if each.name and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    ]
    flags = {str(each.name): each.opts[0] for each in typed}
    for needed, others in _NEEDED.items():
        idle = [flags[each] for each in others if each in flags]
        if idle and not flags.keys() & {*needed}:
            does, what = ("does", "it") if len(idle) == 1 else ("do", "them")
            wanted = " or ".join(f"--{each}" for each in needed)
            raise InvalidArgument(
                f"{' and '.join(idle)} {does} nothing without {wanted}",
                hint=f"add {wanted}, or leave {what} out",
            )


def caller_limits(rate_limit: str | None, window_limit: str | None) -> CallerLimits:
    """What one caller may ask, by all doors together.  Raises InvalidArgument, which names the flag."""
    rate_s = None if rate_limit is None else _rate_s(rate_limit)
    window = None
    if window_limit is not None:
        number, slash, span = window_limit.partition("/")
        if not slash or not _NUMBER.fullmatch(number) or not 1 <= int(number) <= _MOST_IN_WINDOW:
            raise InvalidArgument(
                f"--window-limit {window_limit[:40]!r} is not N/TIME with N from 1 to {_MOST_IN_WINDOW:,}",
                hint="--window-limit 1000/1h, for example",
            )
        window = WindowLimit(int(number), bounded_span_s("--window-limit", span, 0.1, 7 * 86400.0))
    return CallerLimits(rate_s, window)


def _rate_s(text: str) -> float:
    """Requests a second.  Raises InvalidArgument."""
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 1_000_000:
        raise InvalidArgument(
            f"--rate-limit {text[:40]!r} is not a number from 1 to 1,000,000 a second",
            hint="--rate-limit 100, for example",
        )
    return float(text)
