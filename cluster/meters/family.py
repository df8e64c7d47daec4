"""A family of metrics: one name, what it means, and its samples of this moment.

Names and units are Prometheus's: a prefix, base units, `_total` for what only grows.  No label has values
that clients choose, such as keys, tokens or the names of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from ringmill.cluster.meters.histogram import Histogram

__all__ = ["PREFIX", "Family", "Kind", "Sample", "by_label", "counter", "gauge", "histogram"]

PREFIX: Final = "ringmill_"
Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A number, or a histogram of latencies, under its labels."""

    value: float | Histogram
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """`name` without the prefix, with `_total` where it only grows.  All samples have the same labels."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]
    labels: tuple[str, ...] = ()


def counter(name: str, help: str, value: float) -> Family:
    """One number that only grows, from 0 at the start of the process."""
    return Family(name, "counter", help, [Sample(value)])


def gauge(name: str, help: str, value: float | None) -> Family:
    """One number of this moment; None while it is not known."""
    return Family(name, "gauge", help, [] if value is None else [Sample(value)])


def histogram(name: str, help: str, times: Histogram) -> Family:
    return Family(name, "histogram", help, [Sample(times)])


def by_label(kind: Kind, name: str, help: str, label: str, values: Mapping[str, float]) -> Family:
    """One number for each value of a label."""
    samples = [Sample(value, {label: str(each)}) for each, value in values.items()]
    return Family(name, kind, help, samples, (label,))
