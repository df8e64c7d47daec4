"""Reports a run to people or programs: its verdict, what was tried, and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from ringmill.simulator.options import SimulationOptions, usual_options
from ringmill.simulator.run import SimulationResult, drawn_faults, drawn_workloads
from ringmill.simulator.subjects.every import subjects_named
from ringmill.simulator.subjects.subject import Figures

__all__ = [
    "as_document",
    "as_text",
    "failure_text",
    "fault_list",
    "replay_command",
    "to_json",
    "tried_fields",
    "tried_text",
]

_LONGEST_PLAN: Final = 40  # lines
_FLAGS: Final = {
    "nodes": "--nodes",
    "operations": "--ops",
    "sessions": "--sessions",
    "keys": "--keys",
    "mix": "--mix",
    "faults": "--faults",
    "core": "--core",
    "callbacks": "--callbacks",
    "safeguards_off": "--without",
    "only_faults": "--only-faults",
    "only_operations": "--only-ops",
}
_NOT_OF_JOBS: Final = ("nodes", "operations", "sessions", "keys", "mix", "only_operations")


def as_document(result: SimulationResult) -> dict[str, Any]:
    """The fields that scripts may rely on."""
    first = result.violations[0] if result.violations else None
    return {
        "seed": result.seed,
        "verdict": result.verdict,
        "property": first.property if first else None,
        "trace": result.trace,
        **tried_fields(result.figures),
        "virtual_s": round(result.virtual_s, 3),
        "faults": dict(result.faults),
        "violations": [str(violation) for violation in result.violations],
        "replay": replay_command(result.seed, result.options),
    }


def as_text(result: SimulationResult) -> str:
    """The verdict and what was tried, for people."""
    tried = f"{tried_text(result.figures)} on {result.options.nodes} nodes in {result.virtual_s:.1f} s"
    lines = [
        f"seed {result.seed}: {'every promise held' if result.is_ok else 'A PROMISE WAS BROKEN'}",
        f"  tried   {tried} of virtual time",
        f"  faults  {fault_list(result.faults) or 'none fired'}",
        f"  trace   {result.trace}",
        f"  replay  {replay_command(result.seed, result.options)}",
    ]
    return "\n".join(lines)


def failure_text(result: SimulationResult) -> str:
    """What broke, the first ten of it, and the faults and the workload that are left of the run."""
    faults = [
        f"    {fault.at_s:8.3f} s  {fault.kind} {','.join(fault.nodes)} for {fault.lasts_s:.3f} s"
        + (f", amount {fault.amount:g}" if fault.amount else "")
        for fault in drawn_faults(result.seed, result.options)
    ]
    plans = [
        f"    {line}"
        for workload in drawn_workloads(result.seed, result.options).values()
        for line in workload.plan()[:_LONGEST_PLAN]
    ]
    lines = [
        "  broken:",
        *(f"    {violation}" for violation in result.violations[:10]),
        "  shortest list of faults found:",
        *faults,
        "  shortest workload found:",
        *plans,
        f"  replay  {replay_command(result.seed, result.options)}",
    ]
    return "\n".join(lines)


def tried_text(figures: Mapping[str, Figures]) -> str:
    """What was asked for, subject by subject."""
    return " and ".join(subject.describe(figures[subject.name]) for subject in subjects_named(list(figures)))


def tried_fields(figures: Mapping[str, Figures]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for subject in subjects_named(list(figures)):
        found |= subject.fields(figures[subject.name])
    return found


def fault_list(faults: Mapping[str, int]) -> str:
    """Kinds by name, and how often each fired; empty for none."""
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items()))


def replay_command(seed: int, options: SimulationOptions) -> str:
    """One command that gives the same run, but for options that only Python sets."""
    usual = usual_options(options.subjects)
    is_jobs = options.subjects == ("jobs",) and all(
        getattr(options, name) == getattr(usual, name) for name in _NOT_OF_JOBS
    )
    if not is_jobs:  # of what the command line takes unless it is told otherwise
        usual = replace(usual, nodes=SimulationOptions().nodes)
    subjects = ["--jobs"] if is_jobs else _subject_flags(options.subjects)
    words = ["ringmill", "simulate", *subjects, "--seed", str(seed)]
    for field in fields(SimulationOptions):
        value = getattr(options, field.name)
        if field.name in _FLAGS and value != getattr(usual, field.name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [_FLAGS[field.name], text or "none"]
    return shlex.join(words)


def _subject_flags(subjects: tuple[str, ...]) -> list[str]:
    return [] if subjects == ("objects",) else ["--subjects", ",".join(subjects)]


def to_json(document: dict[str, Any]) -> str:
    """One document, as `-o json` prints it."""
    return json.dumps(document, indent=2)
