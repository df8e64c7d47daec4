"""A chaos run in figures: for people, and as one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from chaos.run_real import ChaosResult
from ringmill.simulator.history import Operation

__all__ = ["document", "lines"]


_LOST: Final = ("C1", "C3")
"""What says of an acknowledged write that somebody does not know it, or does not show it."""


def document(result: ChaosResult) -> dict[str, Any]:
    """Latencies in milliseconds, of operations that were answered with success."""
    operations = result.history.operations
    outcomes = Counter(operation.outcome for operation in operations)
    return {
        "seed": result.options.seed,
        "nodes": result.options.nodes,
        "seconds": result.options.seconds,
        "verdict": "violation" if result.violations else "ok",
        "violations": [str(violation) for violation in result.violations],
        "operations": len(operations),
        "outcomes": {name: outcomes[name] for name in ("ok", "failed", "unknown")},
        "keys": result.keys,
        "acknowledged_writes": sum(operation.is_write and operation.is_ok for operation in operations),
        "lost": sum(violation.property in _LOST for violation in result.violations),
        "converged": result.converged_s is not None
        and not any(violation.property == "C2" for violation in result.violations),
        "converged_s": result.converged_s,
        "faults": result.faults,
        "connections": result.connections,
        "tracebacks": result.tracebacks,
        "stale_reads": len(result.stale_s),
        "latency_ms": {
            "read": _latency([one for one in operations if not one.is_write]),
            "write": _latency([one for one in operations if one.is_write]),
        },
    }


def lines(run: dict[str, Any]) -> Iterator[str]:
    """The document in sentences."""
    outcomes, latency = run["outcomes"], run["latency_ms"]
    fired = ", ".join(f"{kind} {count}" for kind, count in run["faults"].items()) or "none"
    yield f"seed {run['seed']}, {run['nodes']} node processes, {run['seconds']:g} s of load and faults"
    yield (
        f"operations          {run['operations']:,} on {run['keys']:,} keys: {outcomes['ok']:,} ok, "
        f"{outcomes['failed']:,} failed, {outcomes['unknown']:,} of unknown outcome"
    )
    yield f"acknowledged writes {run['acknowledged_writes']:,}, lost: {run['lost']}"
    took = f"{run['converged_s']:.1f} s after the last fault" if run["converged_s"] is not None else "never"
    yield f"converged           {'yes' if run['converged'] else 'NO'}, hints delivered {took}"
    yield f"faults fired        {sum(run['faults'].values())}: {fired}"
    yield f"connections         {run['connections']:,} through the proxies"
    for kind, of in latency.items():
        yield f"{kind} latency".ljust(20) + f"p50 {of['p50']} ms, p99 {of['p99']} ms, slowest {of['max']} ms"
    yield f"weak reads that missed an acknowledged write: {run['stale_reads']}"
    yield f"tracebacks in logs  {run['tracebacks']}"
    yield f"verdict             {run['verdict']}"
    yield from (f"    {story}" for story in run["violations"][:20])


def _latency(operations: Sequence[Operation]) -> dict[str, float]:
    took = sorted(
        round((one.returned - one.invoked) * 1000, 1)
        for one in operations
        if one.is_ok and one.returned is not None
    ) or [0.0]
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "max": took[-1]}
