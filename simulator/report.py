"""What a person or a program is told of a run: its verdict, what was tried, and how to run it again."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from typing import Any

from simulator.options import RunOptions
from simulator.run import RunResult, drawn_faults, drawn_wishes

__all__ = ["as_document", "as_text", "failure_text", "replay_command", "to_json"]

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


def as_document(result: RunResult) -> dict[str, Any]:
    """The fields that scripts may rely on."""
    first = result.violations[0] if result.violations else None
    return {
        "seed": result.seed,
        "verdict": result.verdict,
        "property": first.property if first else None,
        "trace": result.trace,
        "ops": result.operations,
        "answered": result.answered,
        "virtual_s": round(result.virtual_s, 3),
        "faults": result.faults,
        "violations": [str(violation) for violation in result.violations],
        "replay": replay_command(result.seed, result.options),
    }


def as_text(result: RunResult) -> str:
    """The verdict and what was tried, for people."""
    faults = ", ".join(f"{kind} {count}" for kind, count in result.faults.items()) or "none fired"
    return "\n".join(
        [
            f"seed {result.seed}: {'every promise held' if result.is_ok else 'A PROMISE WAS BROKEN'}",
            f"  tried   {result.operations} operations ({result.answered} answered) on "
            f"{result.options.nodes} nodes in {result.virtual_s:.1f} s of virtual time",
            f"  faults  {faults}",
            f"  trace   {result.trace}",
            f"  replay  {replay_command(result.seed, result.options)}",
        ]
    )


def failure_text(result: RunResult) -> str:
    """What broke, and the faults and operations that are left of the run."""
    lines = ["  broken:"]
    lines += [f"    {violation}" for violation in result.violations[:10]]
    lines.append("  shortest list of faults found:")
    for fault in drawn_faults(result.seed, result.options):
        lines.append(
            f"    {fault.at_s:8.3f} s  {fault.kind} {','.join(fault.nodes)} for {fault.lasts_s:.3f} s"
            + (f", amount {fault.amount:g}" if fault.amount else "")
        )
    lines.append("  shortest workload found:")
    for wish in drawn_wishes(result.seed, result.options)[:40]:
        lines.append(
            f"    {wish.index:4d}  {wish.session} {wish.kind} {wish.key.decode()} context {wish.context} "
            f"level {wish.level or 'default'} durability {wish.durability or 'sync'}"
        )
    lines.append(f"  replay  {replay_command(result.seed, result.options)}")
    return "\n".join(lines)


def replay_command(seed: int, options: RunOptions) -> str:
    """One command that gives the same run."""
    words = ["ringmill", "simulate", "--seed", str(seed)]
    plain = RunOptions()
    for field in fields(RunOptions):
        value = getattr(options, field.name)
        if field.name in _FLAGS and value != getattr(plain, field.name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [_FLAGS[field.name], text or "none"]
    return shlex.join(words)


def to_json(document: dict[str, Any]) -> str:
    """One document, as `-o json` prints it."""
    return json.dumps(document, indent=2)
