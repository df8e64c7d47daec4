"""The flags of `ringmill simulate`, and the run options that they stand for.

Nothing runs here.  Every mistake is a usage error with a hint.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import click
from click.core import ParameterSource

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.global_options import global_options
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument
from ringmill.simulator.campaign.many import SEEDS_FOR_ALL_MARKS
from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.subjects.every import SUBJECTS, ablation_named, fault_kinds, subjects_named
from ringmill.simulator.subjects.objects.mix import TWISTS, mix_of

__all__ = ["Given", "simulate_command"]

_NOT_OF_JOBS: Final = ("subjects", "nodes", "ops", "sessions", "keys", "mix", "only_ops")
_OF_ONE_RUN: Final = ("trace", "html", "history")
_MEANS_NOTHING: Final = ("cluster", "endpoints", "timeout", "token_file")


@dataclass(frozen=True, slots=True)
class Given:
    """The flags of one command line."""

    seed: int
    seeds: int
    processes: int
    subjects: str
    jobs: bool
    nodes: int
    ops: int
    sessions: int
    keys: int
    mix: str | None
    faults: str | None
    core: float
    callbacks: str
    without: str
    marks: bool
    only_faults: str | None
    only_ops: str | None
    no_shrink: bool
    trace: str
    html: str
    history: str
    is_json: bool


def simulate_command(run: Callable[[Given, SimulationOptions], ExitCode]) -> click.Command:
    """The command that checks its flags and hands them to `run`."""

    @click.pass_context
    def simulate(ctx: click.Context, /, **flags: Any) -> ExitCode:
        given = Given(**flags, is_json=ctx.ensure_object(Settings).output == "json")
        _check_company(ctx, given)
        return run(given, _options_of(given))

    return click.Command(
        "simulate",
        callback=simulate,
        params=[*_flags(), *global_options(_MEANS_NOTHING)],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        help="Simulate a whole cluster in one process, from a seed and under faults, and check its promises.",
    )


def _options_of(given: Given) -> SimulationOptions:
    """Raises InvalidArgument."""
    subjects = subjects_named(["jobs"] if given.jobs else _names(given.subjects))
    if not subjects:
        raise InvalidArgument("--subjects names nothing", hint=f"one or more of {_every_subject()}")
    plain = usual_options(tuple(subject.name for subject in subjects))
    known = [kind.name for kind in fault_kinds(subjects)]
    kinds = None if given.faults is None else tuple(_names(given.faults))
    if unknown := [kind for kind in kinds or () if kind not in known]:
        raise InvalidArgument(f"no fault is named {unknown[0]!r}", hint=f"one of {', '.join(known)}, or none")
    without = tuple(ablation_named(name).name for name in _names(given.without))
    options = replace(
        plain,
        faults=kinds,
        core=given.core,
        callbacks=given.callbacks,
        safeguards_off=without,
        only_faults=_indexes("--only-faults", given.only_faults),
    )
    if given.jobs:
        return options
    return replace(
        options,
        nodes=given.nodes,
        operations=given.ops,
        sessions=given.sessions,
        keys=given.keys,
        mix=_mix(given.mix),
        only_operations=_indexes("--only-ops", given.only_ops),
        longest_s=max(plain.longest_s, 0.6 * given.ops),
    )


def _check_company(ctx: click.Context, given: Given) -> None:
    """Flags that mean nothing beside others.  Raises InvalidArgument."""
    named = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if given.marks and given.seeds == 1:
        raise InvalidArgument("--marks is of many runs", hint="add --seeds 1000")
    for name in _OF_ONE_RUN:
        if name in named and given.seeds > 1:
            raise InvalidArgument(f"--{name} is of one run", hint=f"leave out --seeds {given.seeds}")
    for name in _NOT_OF_JOBS if given.jobs else ():
        if name in named:
            raise InvalidArgument(f"--{name.replace('_', '-')} means nothing to --jobs", hint="leave it out")


def _flags() -> list[click.Parameter]:
    return [
        click.Option(["--seed"], type=int, default=1, show_default=True, help="seed of the run"),
        _number("--seeds", 1, 1, 1_000_000, "number of seeds to run, beginning with --seed"),
        _number("--processes", min(os.cpu_count() or 1, 256), 1, 256, "number of processes for --seeds"),
        click.Option(
            ["--subjects"],
            default="objects",
            show_default=True,
            metavar="NAMES",
            help=f"kinds of work, separated by commas: {_every_subject()}",
        ),
        click.Option(
            ["--jobs"],
            is_flag=True,
            help="run only MapReduce jobs, on three nodes (a smaller --subjects jobs)",
        ),
        _number("--nodes", 5, 3, 9, "number of nodes"),
        _number("--ops", 100, 1, 100_000, "number of operations in all"),
        _number("--sessions", 4, 1, 64, "number of concurrent clients"),
        _number("--keys", 8, 1, 10_000, "number of keys; one run in eight has eight times as many"),
        click.Option(
            ["--mix"],
            metavar="NAMES",
            help=f"changes to the usual mix of operations, or none: {', '.join(TWISTS)}",
        ),
        click.Option(
            ["--faults"],
            metavar="KINDS",
            help=f"kinds of fault, separated by commas, or none: {_every_kind()}",
        ),
        click.Option(
            ["--core"],
            type=click.FloatRange(0, 1),
            default=SimulationOptions().core,
            show_default=True,
            metavar="SHARE",
            help="of the runs, in which a core of the nodes is healed while the rest stays broken",
        ),
        click.Option(
            ["--callbacks"],
            type=click.Choice(["fifo", "drawn"]),
            default=SimulationOptions().callbacks,
            show_default=True,
            help="order of callbacks inside a process: as they became ready, or drawn as far as asyncio "
            "leaves it open",
        ),
        click.Option(["--without"], default="", metavar="NAMES", help="safeguards to switch off"),
        click.Option(
            ["--marks"],
            is_flag=True,
            help="with --seeds: fail when a mark in the product's code was never met; from "
            f"{SEEDS_FOR_ALL_MARKS:,} seeds on usual runs do so anyway",
        ),
        click.Option(["--only-faults"], metavar="INDEXES", help="keep only these of the drawn faults"),
        click.Option(["--only-ops"], metavar="INDEXES", help="keep only these of the drawn operations"),
        click.Option(["--no-shrink"], is_flag=True, help="do not shorten a failing run"),
        _file("--trace", "write the story of the run"),
        _file("--html", "write a timeline as an HTML page"),
        _file("--history", "write the history as JSON lines"),
    ]


def _every_subject() -> str:
    return ", ".join(subject.name for subject in SUBJECTS)


def _every_kind() -> str:
    return ", ".join(kind.name for kind in fault_kinds(subjects_named(["objects"])))


def _number(name: str, usual: int, low: int, high: int, what: str) -> click.Option:
    return click.Option([name], type=click.IntRange(low, high), default=usual, show_default=True, help=what)


def _file(name: str, what: str) -> click.Option:
    return click.Option([name], type=click.Path(), default="", metavar="FILE", help=what)


def _mix(text: str | None) -> tuple[str, ...] | None:
    twists = None if text is None else tuple(_names(text))
    mix_of(twists or ())
    return twists


def _names(text: str) -> list[str]:
    return [] if text in ("", "none") else text.split(",")


def _indexes(flag: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(int, _names(text)))
    except ValueError:
        raise InvalidArgument(f"{flag} {text!r} is no list", hint='numbers with commas: "0,3,17"') from None
