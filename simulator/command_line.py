"""What `ringmill simulate` can be told: flags, and the options of a run that they mean.

Nothing runs here.  Every mistake is an InvalidArgument with what to try.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Final, NoReturn

from cluster.errors import InvalidArgument
from simulator.ablations import ablation_named
from simulator.faults import KINDS
from simulator.job_run import JOB_OPTIONS
from simulator.jobs.faults import JOB_KINDS
from simulator.options import RunOptions

__all__ = ["options_of", "parse"]

_RANGES: Final = (
    ("seeds", 1, 1_000_000),
    ("processes", 1, 256),
    ("nodes", 3, 9),
    ("ops", 1, 100_000),
    ("sessions", 1, 64),
    ("keys", 1, 10_000),
)
_OF_KEYS_ALONE: Final = ("ops", "sessions", "keys", "only_ops", "history", "html")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message, hint="`ringmill simulate --help` lists what it takes")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Raises InvalidArgument."""
    given = _parser().parse_args(arguments)
    for name, low, high in _RANGES:
        if not low <= getattr(given, name) <= high:
            raise InvalidArgument(
                f"--{name} {getattr(given, name)} cannot be", hint=f"a number from {low:,} to {high:,}"
            )
    _check_company(given)
    return given


def options_of(given: argparse.Namespace) -> RunOptions:
    """Raises InvalidArgument."""
    plain = JOB_OPTIONS if given.jobs else RunOptions()
    known = JOB_KINDS if given.jobs else KINDS
    kinds = known if given.faults is None else tuple(_names(given.faults))
    if unknown := [kind for kind in kinds if kind not in known]:
        raise InvalidArgument(f"no fault is named {unknown[0]!r}", hint=f"one of {', '.join(known)}, or none")
    without = tuple(ablation_named(name).name for name in _names(given.without))
    options = replace(
        plain, faults=kinds, safeguards_off=without, only_faults=_indexes("--only-faults", given.only_faults)
    )
    if given.jobs:
        return options
    return replace(
        options,
        nodes=given.nodes,
        operations=given.ops,
        sessions=given.sessions,
        keys=given.keys,
        only_operations=_indexes("--only-ops", given.only_ops),
        longest_s=max(plain.longest_s, 0.6 * given.ops),
    )


def _check_company(given: argparse.Namespace) -> None:
    """Flags that mean nothing beside others."""
    for name in ("trace", "html", "history"):
        path = getattr(given, name)
        if path and given.seeds > 1:
            raise InvalidArgument(f"--{name} is of one run", hint=f"leave out --seeds {given.seeds}")
    plain = _parser()
    for name in _OF_KEYS_ALONE if given.jobs else ():
        if getattr(given, name) != plain.get_default(name):
            raise InvalidArgument(f"--{name.replace('_', '-')} means nothing to --jobs", hint="leave it out")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ringmill simulate", description="Run a whole cluster in one process, from a seed, under faults."
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="what everything is drawn from (default 1)")
    add("--seeds", type=int, default=1, help="run so many seeds, from --seed on")
    add("--processes", type=int, default=os.cpu_count() or 1, help="for --seeds")
    add("--jobs", action="store_true", help="run MapReduce jobs on three nodes, in place of puts and gets")
    add("--nodes", type=int, default=5, help="3 to 9")
    add("--ops", type=int, default=100, help="operations that clients ask for")
    add("--sessions", type=int, default=4, help="clients at once")
    add("--keys", type=int, default=8, help="keys they share; in one run of eight, eight times as many")
    add("--faults", metavar="KINDS", help=f"kinds with commas between, or none: {', '.join(KINDS)}")
    add("--without", default="", metavar="NAMES", help="safeguards to switch off")
    add("--only-faults", metavar="INDEXES", help="of the drawn faults keep these")
    add("--only-ops", metavar="INDEXES", help="of the drawn operations keep these")
    add("--no-shrink", action="store_true", help="leave a failing run as long as it is")
    add("--trace", default="", metavar="FILE", help="write the story of the run")
    add("--html", default="", metavar="FILE", help="write a timeline as one page")
    add("--history", default="", metavar="FILE", help="write the history as JSON lines")
    add("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _names(text: str) -> list[str]:
    return [] if text in ("", "none") else text.split(",")


def _indexes(flag: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(int, _names(text)))
    except ValueError:
        raise InvalidArgument(f"{flag} {text!r} is no list", hint='numbers with commas: "0,3,17"') from None
