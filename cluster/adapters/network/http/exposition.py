"""Metrics as Prometheus reads them: the text of its own format, or of OpenMetrics.

prometheus-client is imported here and nowhere else, when a node or a gateway with `--metrics` starts.
Figures are read when they are asked for, so they cost something only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ringmill.cluster.meters.family import PREFIX, Family, Sample
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["BOUNDS_NS", "Exposition"]

BOUNDS_NS: Final = tuple(
    bound for exponent in range(17, 34) for bound in (1 << exponent, 3 << (exponent - 1))
)
"""From 131 us to 12.9 s, each at most half as much again as the one before: a histogram as it is served."""


class Exposition:
    """Turns the families of a process into text.  Figures of the process are added (`process_*`)."""

    def __init__(self, families: Callable[[], Sequence[Family]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Families(families))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics of this moment in the form that an Accept header asks for, and their content type.

        They are in the plainest form for a header that cannot be read.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # of a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


class _Families(Collector):
    def __init__(self, families: Callable[[], Sequence[Family]]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        """Nothing: to name them all now would need a node that has started."""
        return []

    def collect(self) -> Iterator[Metric]:
        for family in self._families():
            yield _metric(family)


def _metric(family: Family) -> Metric:
    name, labels = PREFIX + family.name, family.labels
    if family.kind == "histogram":
        return _histogram(name, family)
    if family.kind == "info":
        info = InfoMetricFamily(name, family.help)
        for sample in family.samples:
            info.add_metric([], dict(sample.labels))
        return info
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = kind(name, family.help, labels=labels)
    for sample in family.samples:
        assert not isinstance(sample.value, Histogram)
        metric.add_metric(_values(family, sample), sample.value)
    return metric


def _histogram(name: str, family: Family) -> Metric:
    metric = HistogramMetricFamily(name, family.help, labels=family.labels)
    for sample in family.samples:
        times = sample.value
        assert isinstance(times, Histogram)
        below = times.at_most(BOUNDS_NS)
        buckets = [(f"{bound / 1e9:.9g}", float(seen)) for bound, seen in zip(BOUNDS_NS, below, strict=True)]
        metric.add_metric(
            _values(family, sample), [*buckets, ("+Inf", float(times.count))], times.sum_ns / 1e9
        )
    return metric


def _values(family: Family, sample: Sample) -> list[str]:
    return [sample.labels[label] for label in family.labels]
