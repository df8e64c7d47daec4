"""Metrics as a message, for clients that ask for them by RPC."""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.cluster.meters.family import Family, Sample
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.wire.stubs.membership_pb2 import MetricFamily, MetricHistogram, MetricSample

__all__ = ["metric_messages"]


def metric_messages(families: Iterable[Family]) -> list[MetricFamily]:
    """One message for each family.  Names have no prefix."""
    return [
        MetricFamily(
            name=family.name, kind=family.kind, samples=[_message(sample) for sample in family.samples]
        )
        for family in families
    ]


def _message(sample: Sample) -> MetricSample:
    if isinstance(sample.value, Histogram):
        times = sample.value
        message = MetricHistogram(counts=times.filled, sum_ns=times.sum_ns, max_ns=times.max_ns)
        return MetricSample(labels=sample.labels, histogram=message)
    return MetricSample(labels=sample.labels, value=sample.value)
