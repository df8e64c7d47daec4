"""Where the time of a job went, from the figures of its attempts.

Pure.  It also tells of a job that runs; then the present stands for its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from ringmill.client.jobs.critical_path import PathStep, critical_path
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.slot_rows import SlotRow, slot_rows
from ringmill.cluster.mapreduce.attempt_figures import PHASES
from ringmill.cluster.mapreduce.heavy_keys import KeyShare
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.chain_summary import ChainSummary
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack

__all__ = [
    "FailureGroup",
    "JobExplanation",
    "Skew",
    "SlotsUse",
    "StageFigures",
    "Straggler",
]

SLOW: Final = 1.5  # times what is usual for its bytes
LEAST_EXCESS_S: Final = 0.1  # below that the difference is the machine's, not the task's
LEAST_TASKS: Final = 3  # fewer have no usual time


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """One stage ("map", "reduce").

    `seconds` is the time from its first attempt to its last, `slot_seconds` that of all its attempts, and
    `phases_s` what these did in it; "other" is what no phase accounts for, such as messages.  Bytes and
    records are those of attempts that count.
    """

    name: str
    tasks: int
    done: int
    attempts: int
    seconds: float
    slot_seconds: float
    phases_s: Mapping[str, float]
    cpu_s: float
    median_task_s: float
    longest_task_s: float
    longest_task: str
    bytes_in: int
    bytes_out: int
    records_in: int
    records_out: int
    spills: int
    peak_bytes: int
    peak_task: str
    bytes_travelled: int = 0  # of what reduces read, from other nodes
    bytes_unpacked: int = 0  # all of what reduces read, decompressed
    placed: int = 0  # maps whose input lies on nodes: partitions of a keyspace, files of the stage before
    near: int = 0  # of these, those that ran where it lies


@dataclass(frozen=True, slots=True)
class SlotsUse:
    """How much of the time from the first attempt to the last the slots were busy, 0 to 1, also by node."""

    slots: int
    busy_share: float
    by_node: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Straggler:
    """An attempt that took 1.5 times as long as is usual for its bytes."""

    attempt: str
    node: str
    seconds: float
    usual_s: float
    bytes_in: int


@dataclass(frozen=True, slots=True)
class Skew:
    """How unequal the partitions are that the reduces read."""

    largest_task: str
    largest_bytes: int
    median_bytes: int
    times_median: float
    share: float  # of the largest in all, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExplanation:
    """See the module's docstring.  Times are seconds, sizes bytes, shares 0 to 1.

    `wasted_s` is the time of attempts whose output does not count, `wasted_share` its part of the time of
    all.  Stragglers come longest first, failures most frequent first.  Of a pipeline `chain` tells of all its
    stages, and all but that of the present or last one.
    """

    job: str
    state: str
    seconds: float
    critical_path: tuple[PathStep, ...]
    stages: tuple[StageFigures, ...]
    slots: SlotsUse
    stragglers: tuple[Straggler, ...]
    skew: Skew | None
    heavy_keys: tuple[KeyShare, ...] = ()
    wasted_attempts: int
    wasted_s: float
    wasted_share: float
    failures: tuple[FailureGroup, ...]
    chain: ChainSummary | None
    rows: tuple[SlotRow, ...]
    network: bool = False  # whether its tasks may open connections
    is_of_journal: bool = False  # as of JobState
    lacks: tuple[NodeLack, ...] = ()  # of nodes that offer no slots now
    containment: tuple[str, ...] = ()  # the levels at which attempts that have ended were contained

    @classmethod
    def of(cls, state: JobState, attempts: Sequence[AttemptSummary]) -> JobExplanation:
        """An explanation from the state of a job and all its attempts."""
        now_s = max((state.seconds, *(each.began_s for each in attempts)))
        rows = slot_rows(attempts)
        wasted = [each for each in attempts if not each.counts and each.ended_s is not None]
        wasted_s = sum(each.seconds(now_s) for each in wasted)
        spent_s = sum(each.seconds(now_s) for each in attempts)
        stages = [stage.name for stage in state.present_stages]
        return cls(
            job=state.job,
            state=state.state,
            seconds=state.seconds,
            critical_path=critical_path(
                attempts,
                now_s,
                was_killed=state.state == "KILLED",
                from_s=state.chain.stages[-1].began_s if state.chain is not None else 0.0,
            ),
            stages=tuple(_stage(state, name, attempts, now_s) for name in stages),
            slots=_slots(rows, attempts, now_s),
            stragglers=tuple(_stragglers(attempts, now_s)),
            skew=_skew(state, attempts),
            heavy_keys=state.heavy_keys,
            lacks=state.lacks,
            wasted_attempts=len(wasted),
            wasted_s=wasted_s,
            wasted_share=wasted_s / spent_s if spent_s else 0.0,
            failures=state.failures,
            chain=state.chain,
            rows=tuple(rows),
            network=state.network,
            is_of_journal=state.is_of_journal,
            containment=tuple(sorted({each.figures.containment for each in attempts} - {""})),
        )

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values; the slots' rows are left out, as `attempts` tells of them."""
        return {
            "job": self.job,
            "state": self.state,
            "of_journal": self.is_of_journal,
            "seconds": self.seconds,
            "critical_path": [{**asdict(step), "seconds": step.seconds} for step in self.critical_path],
            "stages": [asdict(stage) for stage in self.stages],
            "slots": asdict(self.slots),
            "lacks": [each._asdict() for each in self.lacks],
            "stragglers": [asdict(each) for each in self.stragglers],
            "skew": None if self.skew is None else asdict(self.skew),
            "heavy_keys": [each._asdict() for each in self.heavy_keys],
            "wasted": {
                "attempts": self.wasted_attempts,
                "seconds": self.wasted_s,
                "share": self.wasted_share,
            },
            "failures": [asdict(each) for each in self.failures],
            "chain": None if self.chain is None else asdict(self.chain),
        }


def _stage(state: JobState, name: str, attempts: Sequence[AttemptSummary], now_s: float) -> StageFigures:
    own = [each for each in attempts if each.stage == name]
    count = [each for each in own if each.counts]
    times = [each.seconds(now_s) for each in count]
    longest = max(own, key=lambda each: each.seconds(now_s), default=None)
    largest = max(own, key=lambda each: each.figures.peak_bytes, default=None)
    ends = [each.end_s(now_s) for each in own]
    return StageFigures(
        name=name,
        tasks=state.stage(name).total,
        done=len(count),
        attempts=len(own),
        seconds=max(ends) - min(each.began_s for each in own) if own else 0.0,
        slot_seconds=sum(each.seconds(now_s) for each in own),
        phases_s=_phases(own, now_s),
        cpu_s=sum(each.figures.cpu_s for each in own),
        median_task_s=median(times) if times else 0.0,
        longest_task_s=longest.seconds(now_s) if longest else 0.0,
        longest_task=longest.name if longest else "",
        bytes_in=sum(each.bytes_in for each in count),
        bytes_out=sum(each.bytes_out for each in count),
        records_in=sum(each.records_in for each in count),
        records_out=sum(each.records_out for each in count),
        spills=sum(each.spills for each in count),
        peak_bytes=largest.figures.peak_bytes if largest else 0,
        peak_task=largest.name if largest and largest.figures.peak_bytes else "",
        bytes_travelled=sum(each.bytes_travelled for each in count),
        bytes_unpacked=sum(each.bytes_unpacked for each in count),
        placed=sum(each.is_near is not None for each in count),
        near=sum(each.is_near is True for each in count),
    )


def _phases(attempts: Sequence[AttemptSummary], now_s: float) -> dict[str, float]:
    timed = [each for each in attempts if each.figures.phases]
    spent = {name: sum(each.figures.phases.get(name, 0.0) for each in timed) for name in PHASES}
    other = sum(max(0.0, each.seconds(now_s) - sum(each.figures.phases.values())) for each in timed)
    return {name: seconds for name, seconds in {**spent, "other": other}.items() if seconds}


def _slots(rows: Sequence[SlotRow], attempts: Sequence[AttemptSummary], now_s: float) -> SlotsUse:
    if not attempts:
        return SlotsUse(0, 0.0, {})
    ends = [each.end_s(now_s) for each in attempts]
    span_s = max(ends) - min(each.began_s for each in attempts)
    shares: dict[str, list[float]] = {}
    for row in rows:
        shares.setdefault(row.node, []).append(row.busy_s(now_s) / span_s if span_s else 0.0)
    by_node = {node: sum(busy) / len(busy) for node, busy in shares.items()}
    return SlotsUse(len(rows), sum(sum(busy) for busy in shares.values()) / len(rows), by_node)


def _stragglers(attempts: Sequence[AttemptSummary], now_s: float) -> list[Straggler]:
    found = []
    for stage in ("map", "reduce"):
        own = [each for each in attempts if each.stage == stage]
        done = [each for each in own if each.counts]
        if len(done) < LEAST_TASKS:
            continue
        usual_s = median(each.seconds(now_s) for each in done)
        paces = [each.seconds(now_s) / each.bytes_in for each in done if each.bytes_in]
        pace = median(paces) if paces else 0.0
        for each in own:
            expected_s = max(usual_s, pace * each.bytes_in)  # a small task has what every task costs
            taken_s = each.seconds(now_s)
            is_counted = each.counts or each.state == "running"
            if is_counted and taken_s > max(SLOW * expected_s, expected_s + LEAST_EXCESS_S):
                found.append(Straggler(each.name, each.node, taken_s, expected_s, each.bytes_in))
    return sorted(found, key=lambda each: each.usual_s - each.seconds)


def _skew(state: JobState, attempts: Sequence[AttemptSummary]) -> Skew | None:
    parts = state.stage("reduce").total - ("bad" in state.records)  # the last one holds records set aside
    tasks = {f"reduce-{index}" for index in range(parts)}
    sizes = {each.task: each.bytes_in for each in attempts if each.task in tasks}
    total = sum(sizes.values())
    if len(sizes) < max(2, parts) or not total:
        return None  # of some of them nothing is known yet
    largest, usual = max(sizes, key=lambda task: sizes[task]), median(sizes.values())
    times = sizes[largest] / usual if usual else float(len(sizes))
    return Skew(largest, sizes[largest], round(usual), times, sizes[largest] / total)
