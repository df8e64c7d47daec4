"""The metrics of nodes, asked by RPC: the figures that `--metrics` serves to Prometheus, without that port.

Names are those of docs/monitoring.md without the prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.client.administration.asking import ask_everybody
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Method
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import METER_BITS
from ringmill.cluster.wire.stubs.membership_pb2 import MetricSample, MetricsRequest, MetricsResponse

__all__ = ["NodeMetrics", "ask_metrics"]

_METRICS: Final = Method("/ringmill.v1.Membership/Metrics", "", MetricsResponse)


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """What a node counts at one moment.  `clock_s` is its monotonic clock: two looks are so far apart."""

    node: str
    clock_s: float
    families: Mapping[str, Sequence[MetricSample]]

    @classmethod
    def of(cls, answer: MetricsResponse) -> NodeMetrics:
        return cls(answer.node, answer.clock_s, {family.name: family.samples for family in answer.families})

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 where there is none."""
        return sum(each.value for each in self._chosen(name, labels))

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The samples of a metric by one of its labels, those that share its value together."""
        found: dict[str, float] = {}
        for each in self.families.get(name, ()):
            value = each.labels.get(label, "")
            found[value] = found.get(value, 0.0) + each.value
        return found

    def times(self, name: str, verbs: Iterable[str] | None = None) -> Histogram:
        """All latencies of a histogram, or those of some verbs."""
        wanted = None if verbs is None else {*verbs}
        together = Histogram(METER_BITS)
        for each in self.families.get(name, ()):
            if wanted is None or each.labels.get("verb", "") in wanted:
                histogram = each.histogram
                together.add(
                    Histogram.of_buckets(
                        histogram.counts.items(), histogram.sum_ns, histogram.max_ns, METER_BITS
                    )
                )
        return together

    def _chosen(self, name: str, labels: Mapping[str, str]) -> Iterable[MetricSample]:
        return (
            each
            for each in self.families.get(name, ())
            if all(each.labels.get(label) == value for label, value in labels.items())
        )


async def ask_metrics(directory: Directory, timeout_s: float) -> dict[str, NodeMetrics]:
    """Ask every member at once; what those tell that answer, by their ids.

    Members of an earlier release do not know the question, and are left out.  Raises what all were refused by
    when none answers.
    """

    async def ask(address: str, left_s: float) -> NodeMetrics:
        return NodeMetrics.of(await directory.link(address).call(_METRICS, MetricsRequest(), left_s))

    _, answers = await ask_everybody(directory, ask, lambda each: int(each.total("epoch")), timeout_s)
    found = [each for each in answers.values() if isinstance(each, NodeMetrics)]
    refusals = [each for each in answers.values() if isinstance(each, RingmillError)]
    if not found and refusals:
        raise refusals[0]
    return {each.node: each for each in found}
