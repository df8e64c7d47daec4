"""Metrics of what clients ask: how much, how it ends, how long it takes, and what there is no room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ringmill.cluster.meters.family import Family, Sample, by_label, counter, gauge
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import DONE, METER_BITS, RequestMeter
from ringmill.node.assembly import Node
from ringmill.node.metrics.process_meters import ProcessMeters
from ringmill.node.metrics.verbs import KEY_VERBS, verb_of

__all__ = ["request_families"]


def request_families(node: Node, meters: ProcessMeters | None) -> Iterator[Family]:
    yield from _counted(node.core.meter)
    gate = node.core.gate
    yield counter(
        "overload_refusals_total",
        "Requests that the gate refused at once for want of room, and scans that were left off",
        gate.refused,
    )
    yield gauge(
        "overload_step", "How much the node leaves off, 0 (nothing) to 5 (also scans)", float(gate.step)
    )
    work = {"under_way": float(gate.in_use), "waiting": float(gate.waiting), "limit": gate.work.limit}
    yield by_label(
        "gauge", "work_units", "Requests at the gate, in units: under way, waiting, the limit", "state", work
    )
    hedging = node.requests.hedging
    hedges = {"sent": float(hedging.hedged), "refused": float(hedging.refused)}
    yield by_label(
        "counter",
        "read_hedges_total",
        "Reads with a late answer that asked one more owner, or had no budget for it",
        "outcome",
        hedges,
    )
    yield gauge(
        "read_hedge_delay_seconds",
        "How long a read waits for an answer before it asks one more owner, if that is the fastest one",
        hedging.patience.hedge_s,
    )
    yield counter("denied_total", "Requests refused as their client may not make them", node.access.denied)
    if meters is not None:
        clients, peers = meters.streams()
        streams = {"client": float(clients), "node": float(peers)}
        yield by_label(
            "gauge", "sessions", "Open streams of frames, by who has dialled them", "from", streams
        )


def _counted(meter: RequestMeter) -> Iterator[Family]:
    """A verb that came in frames and as single calls is one."""
    counts: Counter[tuple[str, str]] = Counter({(verb, DONE): 0 for verb in KEY_VERBS})
    times = {verb: Histogram(METER_BITS) for verb in KEY_VERBS}
    for method, counted in list(meter.methods.items()):
        verb = verb_of(method)
        for outcome, count in counted.outcomes.items():
            counts[verb, outcome] += count
        if verb in times:
            times[verb].add(counted.times)
    labels = ("verb", "outcome")
    samples = [Sample(count, {"verb": verb, "outcome": outcome}) for (verb, outcome), count in counts.items()]
    yield Family(
        "requests_total", "counter", "Requests of clients that were answered, by verb and outcome", samples,
        labels,
    )  # fmt: skip
    yield Family(
        "request_duration_seconds",
        "histogram",
        "From when a request was read to when its answer was made",
        [Sample(each, {"verb": verb}) for verb, each in times.items()],
        ("verb",),
    )
