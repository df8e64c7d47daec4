"""Cases of a key-value benchmark, what each contestant did in them, and where an open loop has its knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final

from ringmill.client.bench.load import is_behind
from ringmill.client.bench.workloads import WORKLOADS
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["Case", "Result", "Results", "batch_cases", "beside_singles", "knees"]

USUAL_VALUE_BYTES: Final = 100
KNEE_FACTOR: Final = 5.0  # of the p99 at the lowest rate


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table, for each contestant."""

    workload: str
    keys_by: str
    value_bytes: int
    in_flight: int
    durability: str
    rate_per_s: float = 0.0  # of an open loop; 0 is a closed one
    way: str = ""  # of batches of `in_flight` requests, one after the other; "": single requests

    @property
    def name(self) -> str:
        parts = [self.workload]
        if self.way:
            parts.append(f"{self.way} of {self.in_flight}")
        if self.durability != "synced":
            parts.append(self.durability)
        if (keys_by := WORKLOADS[self.workload].keys or self.keys_by) != "uniform":
            parts.append(keys_by)
        if self.value_bytes != USUAL_VALUE_BYTES:
            parts.append(f"{self.value_bytes} B")
        return ", ".join(parts)


@dataclass(slots=True)
class Result:
    """What one contestant did in one case, round by round."""

    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def operations(self) -> int:
        return sum(int(one["operations"]) for one in self.rounds)

    @property
    def seconds(self) -> float:
        return sum(float(one["seconds"]) for one in self.rounds)

    def figures(self) -> dict[str, float]:
        rates = [one["operations"] / one["seconds"] for one in self.rounds]
        latency = self._histogram("latency").percentiles_ms()
        errors = sum(sum(one["errors"].values()) for one in self.rounds)
        missing = sum(one["missing"] for one in self.rounds)
        sent = sum(one["operations_sent"] for one in self.rounds)
        frames = sum(one["frames"] for one in self.rounds)
        lateness = self._histogram("lateness")
        return {
            "per_s": median(rates),
            "least": min(rates),
            "most": max(rates),
            **{f"{name}_ms": value for name, value in latency.items() if name != "p90"},
            "client_us": self._median_us("client_s"),
            "nodes_us": self._median_us("nodes_s"),
            **({"ops_per_frame": sent / frames} if frames else {}),
            **self._node_frames(),
            **({"late_p99_ms": lateness.percentile_ns(0.99) / 1e6} if lateness.count else {}),
            **({"errors": errors} if errors else {}),
            **({"not_found": missing} if missing else {}),
        }

    def _node_frames(self) -> dict[str, float]:
        """Calls and answers in a frame between nodes, and to clients, where nodes were started to count."""
        counted = [one["node_frames"] for one in self.rounds if "node_frames" in one]
        frames, calls, answer_frames, answers = (
            (sum(one) for one in zip(*counted, strict=True)) if counted else (0,) * 4
        )
        return {
            **({"calls_per_peer_frame": calls / frames} if frames else {}),
            **({"answers_per_frame": answers / answer_frames} if answer_frames else {}),
        }

    def _median_us(self, name: str) -> float:
        return median(float(one[name] / max(1, one["operations"])) for one in self.rounds) * 1e6

    def _histogram(self, name: str) -> Histogram:
        together = Histogram()
        for one in self.rounds:
            together.add(Histogram.of(one[name]))
        return together


Results = Mapping[tuple[Case, str], Result]


def batch_cases(singles: Sequence[Case], sizes: Sequence[int]) -> list[Case]:
    """Batches of those sizes in each way, for what the single requests do."""
    closed = dict.fromkeys(replace(one, in_flight=0) for one in singles if not one.rate_per_s)
    return [
        replace(one, in_flight=size, way=way)
        for one in closed
        if one.workload in ("get", "put")
        for size in sizes
        for way in (f"m{one.workload}", "pipeline", "gather")
    ]


def beside_singles(results: Results, case: Case, name: str) -> dict[str, float]:
    """The rate over that of one single request after the other, where both were measured."""
    single = replace(case, in_flight=1, way="")
    if case == single or (single, name) not in results or not any(one.way for one, _ in results):
        return {}
    per_s, single_per_s = (results[one, name].figures()["per_s"] for one in (case, single))
    return {"x_single": per_s / single_per_s}


def knees(results: Results, names: Sequence[str]) -> list[str]:
    """The last rate of each contestant and open case before it falls behind or its p99 shoots up."""
    lines = []
    for name in names:
        for case in dict.fromkeys(replace(case, rate_per_s=0.0) for case, _ in results if case.rate_per_s):
            points = [
                (one.rate_per_s, results[one, name])
                for one, of in results
                if of == name and one.rate_per_s and replace(one, rate_per_s=0.0) == case
            ]
            if len(points) > 1:
                lines.append(f"knee of {name}, {case.name}: {_knee(sorted(points, key=lambda one: one[0]))}")
    return lines


def _knee(points: Sequence[tuple[float, Result]]) -> str:
    kept_up = ""
    lowest_ms = points[0][1].figures()["p99_ms"]
    for rate, result in points:
        figures = result.figures()
        if is_behind(result.operations, rate, result.seconds):
            return f"{kept_up or 'below the lowest rate'}; {figures['per_s']:,.0f} of {rate:,.0f}/s were done"
        if figures["p99_ms"] > KNEE_FACTOR * lowest_ms:
            return f"{kept_up}; at {rate:,.0f}/s p99 is {figures['p99_ms']:.3g} ms"
        kept_up = f"{rate:,.0f}/s, p99 {figures['p99_ms']:.3g} ms"
    return f"not reached at {kept_up}"
