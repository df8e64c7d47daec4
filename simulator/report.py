"""What a person or a program is told of a run: its verdict, what was tried, and how to run it again.

`document`, `lines` and `replay_command` are for any kind of run; the others for runs of keys and values.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ringmill.simulator.options import RunOptions
from ringmill.simulator.run import RunResult, drawn_faults, drawn_wishes
from ringmill.simulator.verdict import Verdict

__all__ = [
    "as_document",
    "as_text",
    "broken_lines",
    "document",
    "failure_text",
    "fault_list",
    "lines",
    "replay_command",
    "to_json",
]

_USUAL = RunOptions()
_FLAGS = {
    "nodes": "--nodes",
    "operations": "--ops",
    "sessions": "--sessions",
    "keys": "--keys",
    "faults": "--faults",
    "safeguards_off": "--without",
    "only_faults": "--only-faults",
    "only_operations": "--only-ops",
}


def document(result: Verdict, tried: Mapping[str, Any], replay: str) -> dict[str, Any]:
    """The fields that scripts may rely on."""
    first = result.violations[0] if result.violations else None
    return {
        "seed": result.seed,
        "verdict": result.verdict,
        "property": first.property if first else None,
        "trace": result.trace,
        **tried,
        "virtual_s": round(result.virtual_s, 3),
        "faults": result.faults,
        "violations": [str(violation) for violation in result.violations],
        "replay": replay,
    }


def lines(result: Verdict, tried: str, replay: str) -> list[str]:
    """The verdict and what was tried, for people."""
    return [
        f"seed {result.seed}: {'every promise held' if result.is_ok else 'A PROMISE WAS BROKEN'}",
        f"  tried   {tried} on {result.options.nodes} nodes in {result.virtual_s:.1f} s of virtual time",
        f"  faults  {fault_list(result.faults) or 'none fired'}",
        f"  trace   {result.trace}",
        f"  replay  {replay}",
    ]


def broken_lines(result: Verdict) -> list[str]:
    """What broke, the first ten of it."""
    return ["  broken:", *(f"    {violation}" for violation in result.violations[:10])]


def fault_list(faults: Mapping[str, int]) -> str:
    """Kinds by name, and how often each fired; empty for none."""
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items()))


def as_document(result: RunResult) -> dict[str, Any]:
    tried = {"ops": result.operations, "answered": result.answered}
    return document(result, tried, replay_command(result.seed, result.options))


def as_text(result: RunResult) -> str:
    tried = f"{result.operations} operations ({result.answered} answered)"
    return "\n".join(lines(result, tried, replay_command(result.seed, result.options)))


def failure_text(result: RunResult) -> str:
    """What broke, and the faults and operations that are left of the run."""
    told = broken_lines(result)
    told.append("  shortest list of faults found:")
    for fault in drawn_faults(result.seed, result.options):
        told.append(
            f"    {fault.at_s:8.3f} s  {fault.kind} {','.join(fault.nodes)} for {fault.lasts_s:.3f} s"
            + (f", amount {fault.amount:g}" if fault.amount else "")
        )
    told.append("  shortest workload found:")
    for wish in drawn_wishes(result.seed, result.options)[:40]:
        told.append(
            f"    {wish.index:4d}  {wish.session} {wish.kind} {wish.key.decode()} context {wish.context} "
            f"level {wish.level or 'default'} durability {wish.durability or 'sync'}"
        )
    told.append(f"  replay  {replay_command(result.seed, result.options)}")
    return "\n".join(told)


def replay_command(seed: int, options: RunOptions, *kind: str, usual: RunOptions = _USUAL) -> str:
    """One command that gives the same run, but for options that only Python sets.

    `kind` is the flag of another kind of run, with its `usual`.
    """
    words = ["ringmill", "simulate", *kind, "--seed", str(seed)]
    for field in fields(RunOptions):
        value = getattr(options, field.name)
        if field.name in _FLAGS and value != getattr(usual, field.name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [_FLAGS[field.name], text or "none"]
    return shlex.join(words)


def to_json(document: dict[str, Any]) -> str:
    """One document, as `-o json` prints it."""
    return json.dumps(document, indent=2)
