"""The report of a benchmark: what was measured, how, and the caveats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringmill.client.bench.load import DRAIN_S, Measured, is_behind
from ringmill.client.bench.plan import BenchPlan, Cleaned
from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.adapters.machine_name import own_cores
from ringmill.cluster.meters.histogram import PERCENTILES, Histogram

__all__ = ["BenchOutcome", "caveats", "report"]

SHORT_S = 10.0
FEW = 100  # operations above a percentile, below which it is chance
BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """The result of a benchmark.  `local_nodes` is the number of node processes found on this machine."""

    measured: Measured
    cleaned: Cleaned
    nodes: int
    replicas: int
    local_nodes: int

    @property
    def is_local(self) -> bool:
        """Whether the processor time of all nodes is known."""
        return 0 < self.local_nodes == self.nodes


def report(
    settings: Settings, plan: BenchPlan, outcome: BenchOutcome, levels: Mapping[str, str | None]
) -> None:
    """Print the report."""
    notes = list(caveats(plan, outcome, levels))
    if settings.output == "json":
        output.show(settings, _document(plan, outcome, levels, notes), (), ())
        return
    output.fields(settings, {}, list(_facts(plan, outcome, levels)))
    rows = [_row(verb, histogram) for verb, histogram in _histograms(outcome.measured).items()]
    output.show(settings, {}, ("LATENCY ms", *PERCENTILES, "max", "count"), rows)
    for text in notes:
        output.note(f"note: {text}")


def caveats(plan: BenchPlan, outcome: BenchOutcome, levels: Mapping[str, str | None]) -> Iterator[str]:
    """What limits the meaning of the figures."""
    measured, load = outcome.measured, plan.load
    if outcome.is_local:
        yield f"client and nodes share this machine ({own_cores()} cores): the rate is limited by both"
    if measured.client_s > BUSY_SHARE * measured.seconds:
        yield "the client used a whole core, so it may be the limit; run several clients"
    if load.rate_per_s and is_behind(measured.ended, load.rate_per_s, measured.seconds):
        ended_per_s = measured.ended / measured.seconds
        yield (
            f"{ended_per_s:,.0f} of {load.rate_per_s:,.0f} operations per second ended: "
            "the latencies grow with the length of the run"
        )
    if measured.unsent:
        yield (
            f"{measured.unsent:,} operations were due and could not be sent within {DRAIN_S:g} s of the end: "
            "they count with the time that they waited"
        )
    if not load.rate_per_s:
        yield "a closed loop sends less to a slow cluster; --rate shows the latency at a fixed rate"
    if measured.seconds < SHORT_S:
        yield f"a run of {measured.seconds:.1f} s is short: it may not include flushes and compactions"
    count = measured.all_latencies.count
    unsure = [
        name for name, above in (("p99", 100), ("p99.9", 1_000), ("p99.99", 10_000)) if count < FEW * above
    ]
    if unsure and count:
        yield f"{', '.join(unsure)}: based on fewer than {FEW} of {count:,} operations"
    if measured.errors:
        yield "latencies are of successful operations only"
    if levels["durability"] != "synced":
        yield f"writes were {levels['durability']}: a power failure may lose acknowledged ones"
    if outcome.cleaned.errors:
        left = outcome.cleaned.errors.total()
        kinds = ", ".join(outcome.cleaned.errors)
        yield f"{left} keys of this run could not be deleted ({kinds})"


def _document(
    plan: BenchPlan, outcome: BenchOutcome, levels: Mapping[str, str | None], notes: list[str]
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
        "cores": own_cores(),
        "warm_up_s": load.warm_up_s,
        "seconds": round(measured.seconds, 3),
        "operations": measured.operations,
        "unsent": measured.unsent,
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
        "notes": notes,
    }


def _facts(
    plan: BenchPlan, outcome: BenchOutcome, levels: Mapping[str, str | None]
) -> Iterator[tuple[str, str]]:
    measured, load = outcome.measured, plan.load
    mix = ", ".join(f"{share:.0%} {verb}" for verb, share in plan.workload.mix.items())
    yield "workload", f"{plan.workload.name}: {mix}"
    yield "keys", f"{plan.keys:,}, {plan.workload.keys or plan.keys_by}; values of {plan.value_bytes:,} B"
    nodes = "1 node" if outcome.nodes == 1 else f"{outcome.nodes} nodes"
    yield "cluster", f"{nodes}, N={outcome.replicas}, keyspace {levels['keyspace']}"
    yield "levels", f"w {levels['w'] or 'default'}, r {levels['r'] or 'default'}, {levels['durability']}"
    asked = f"open, {load.rate_per_s:,.0f} per second, at most" if load.rate_per_s else "closed,"
    yield "loop", f"{asked} {load.in_flight} in flight"
    yield "measured", f"{measured.seconds:.1f} s after {load.warm_up_s:.1f} s of warm-up"
    yield "operations", f"{measured.operations:,}, {measured.per_s:,.0f} per second"
    yield "errors", ", ".join(f"{count:,} {kind}" for kind, count in measured.errors.most_common()) or "none"
    if measured.missing:
        yield "not found", f"{measured.missing:,}"
    nodes = f"{measured.nodes_us:,.0f} µs in all nodes together" if outcome.is_local else "nodes not known"
    yield "processor", f"{measured.client_us:,.0f} µs per operation in the client, {nodes}"
    if load.rate_per_s:
        late = measured.lateness.percentile_ns(0.99) / 1e6
        yield "sent late", f"99 % at most {late:.1f} ms; included in the latencies"
    yield "deleted", f"{outcome.cleaned.deleted:,} keys of this run"


def _histograms(measured: Measured) -> dict[str, Histogram]:
    """The histograms by verb, and for several verbs also all together."""
    several = {"all": measured.all_latencies} if len(measured.latencies) > 1 else {}
    return {**dict(sorted(measured.latencies.items())), **several}


def _row(verb: str, histogram: Histogram) -> tuple[object, ...]:
    percentiles = histogram.percentiles_ms().values()
    return (verb, *(_digits(one) for one in percentiles), _digits(histogram.max_ns / 1e6), histogram.count)


def _digits(value_ms: float) -> float:
    """Three significant digits."""
    return float(f"{value_ms:.3g}")
