"""The report of a benchmark: what was measured, how, and what the figures do not say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringmill.client.bench.histogram import PERCENTILES, Histogram
from ringmill.client.bench.load import Measured, is_behind
from ringmill.client.bench.plan import BenchPlan, Cleaned
from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.settings import Settings

__all__ = ["Outcome", "caveats", "report"]

SHORT_S = 10.0
FEW = 100  # operations above a percentile, below which it is chance
BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found.  `local_nodes` counts nodes whose processes are known on this machine."""

    measured: Measured
    cleaned: Cleaned
    nodes: int
    replicas: int
    local_nodes: int

    @property
    def is_local(self) -> bool:
        """All nodes are on this machine, and their processor time is known."""
        return 0 < self.local_nodes == self.nodes


def report(settings: Settings, plan: BenchPlan, outcome: Outcome, levels: Mapping[str, str | None]) -> None:
    """Print it: one document, or lines and a table."""
    told = list(caveats(plan, outcome, levels))
    if settings.output == "json":
        output.show(settings, _document(plan, outcome, levels, told), (), ())
        return
    output.fields(settings, {}, list(_facts(plan, outcome, levels)))
    rows = [_row(verb, histogram) for verb, histogram in _histograms(outcome.measured).items()]
    output.show(settings, {}, ("LATENCY ms", *PERCENTILES, "max", "count"), rows)
    for text in told:
        output.note(f"note: {text}")


def caveats(plan: BenchPlan, outcome: Outcome, levels: Mapping[str, str | None]) -> Iterator[str]:
    """What a reader has to know before believing a figure."""
    measured, load = outcome.measured, plan.load
    if outcome.is_local:
        yield f"client and nodes share this machine ({_cores()} cores): the rate is what they reach together"
    if measured.client_s > BUSY_SHARE * measured.seconds:
        yield "the client used a whole core: it may be the limit, not the cluster; run several"
    if load.rate_per_s and is_behind(measured.operations, load.rate_per_s, measured.seconds):
        yield (
            f"{measured.per_s:,.0f} of {load.rate_per_s:,.0f} operations a second were done: latency "
            "grows with the length of the run and says nothing else"
        )
    if not load.rate_per_s:
        yield "a closed loop asks a slow cluster less; --rate shows what users would wait"
    if measured.seconds < SHORT_S:
        yield f"{measured.seconds:.1f} s is short: flushes and merges may have had no part in it"
    count = measured.all_latencies.count
    unsure = [
        name for name, above in (("p99", 100), ("p99.9", 1_000), ("p99.99", 10_000)) if count < FEW * above
    ]
    if unsure and count:
        yield f"{', '.join(unsure)}: fewer than {FEW} of {count:,} operations lie above"
    if measured.errors:
        yield "latencies are of operations that succeeded"
    if levels["durability"] != "synced":
        yield f"writes were {levels['durability']}: a power cut may take acknowledged ones back"
    if outcome.cleaned.errors:
        left = outcome.cleaned.errors.total()
        kinds = ", ".join(outcome.cleaned.errors)
        yield f"{left} keys of this run could not be deleted ({kinds})"


def _document(
    plan: BenchPlan, outcome: Outcome, levels: Mapping[str, str | None], told: list[str]
) -> dict[str, Any]:
    measured, load = outcome.measured, plan.load
    return {
        "workload": plan.workload.name,
        "mix": dict(plan.workload.mix),
        "keys": plan.keys,
        "keys_by": plan.workload.keys or plan.keys_by,
        "value_bytes": plan.value_bytes,
        "loop": "open" if load.rate_per_s else "closed",
        "rate_per_s": load.rate_per_s or None,
        "in_flight": load.in_flight,
        "seed": load.seed,
        **levels,
        "nodes": outcome.nodes,
        "replicas": outcome.replicas,
        "cores": _cores(),
        "warm_up_s": load.warm_up_s,
        "seconds": round(measured.seconds, 3),
        "operations": measured.operations,
        "per_s": round(measured.per_s, 1),
        "latency_ms": {
            verb: {**one.percentiles_ms(), "max": one.max_ns / 1e6, "count": one.count}
            for verb, one in _histograms(measured).items()
        },
        "lateness_ms": measured.lateness.percentiles_ms() if load.rate_per_s else None,
        "errors": dict(measured.errors),
        "not_found": measured.missing,
        "processor_us": {
            "client": round(measured.client_us, 1),
            "nodes": round(measured.nodes_us, 1) if outcome.is_local else None,
        },
        "cleaned": {"deleted": outcome.cleaned.deleted, "errors": dict(outcome.cleaned.errors)},
        "notes": told,
    }


def _facts(plan: BenchPlan, outcome: Outcome, levels: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    measured, load = outcome.measured, plan.load
    mix = ", ".join(f"{share:.0%} {verb}" for verb, share in plan.workload.mix.items())
    yield "workload", f"{plan.workload.name}: {mix}"
    yield "keys", f"{plan.keys:,}, {plan.workload.keys or plan.keys_by}; values of {plan.value_bytes:,} B"
    nodes = "1 node" if outcome.nodes == 1 else f"{outcome.nodes} nodes"
    yield "cluster", f"{nodes}, N={outcome.replicas}, keyspace {levels['keyspace']}"
    yield "levels", f"w {levels['w'] or 'default'}, r {levels['r'] or 'default'}, {levels['durability']}"
    asked = f"open, {load.rate_per_s:,.0f} a second, at most" if load.rate_per_s else "closed,"
    yield "loop", f"{asked} {load.in_flight} in flight"
    yield "measured", f"{measured.seconds:.1f} s after {load.warm_up_s:.1f} s of warm-up"
    yield "operations", f"{measured.operations:,}, {measured.per_s:,.0f} a second"
    yield "errors", ", ".join(f"{count:,} {kind}" for kind, count in measured.errors.most_common()) or "none"
    if measured.missing:
        yield "not found", f"{measured.missing:,}"
    nodes = f"{measured.nodes_us:,.0f} µs in all nodes together" if outcome.is_local else "nodes not known"
    yield "processor", f"{measured.client_us:,.0f} µs an operation in the client, {nodes}"
    if load.rate_per_s:
        late = measured.lateness.percentile_ns(0.99) / 1e6
        yield "sent late", f"99 % at most {late:.1f} ms; that time is in the latencies"
    yield "deleted", f"{outcome.cleaned.deleted:,} keys of this run"


def _histograms(measured: Measured) -> dict[str, Histogram]:
    """By verb, and all together where there are several."""
    several = {"all": measured.all_latencies} if len(measured.latencies) > 1 else {}
    return {**dict(sorted(measured.latencies.items())), **several}


def _row(verb: str, histogram: Histogram) -> tuple[object, ...]:
    told = histogram.percentiles_ms().values()
    return (verb, *(_digits(one) for one in told), _digits(histogram.max_ns / 1e6), histogram.count)


def _digits(value_ms: float) -> float:
    """Three digits are all that a measurement like this can bear."""
    return float(f"{value_ms:.3g}")


def _cores() -> int:
    has_set = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_set else os.cpu_count() or 1
