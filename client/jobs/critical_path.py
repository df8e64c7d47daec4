"""What the end of a job waited for, step by step.

Pure.  The last reduce to end, and the attempts that had its slot before; the last map that these waited for,
and those that had its slot before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary

__all__ = ["PathStep", "critical_path"]

_SLACK_S = 0.005  # a slot is free a moment before the next attempt has it


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step; times are seconds since the job was submitted.

    `what` is "stages" (those of a chain that were over before), "plan", "map", "wait", "reduce" or "commit".
    A step of attempts is `attempts` of them one after the other on `node`, the last of which is `last`.
    """

    what: str
    began_s: float
    ended_s: float
    attempts: int = 0
    last: str = ""  # "map-3.1"
    node: str = ""
    phases_s: Mapping[str, float] | None = None  # of the last

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


def critical_path(
    attempts: Sequence[AttemptSummary], now_s: float, *, was_killed: bool = False, from_s: float = 0.0
) -> tuple[PathStep, ...]:
    """The steps from the submission of a job to its end, or to `now_s` while it runs.

    An attempt that was cancelled delayed nothing, unless it was lost with its node before, or the job was
    killed while its task waited for it.  `from_s` is when the stage of a chain began that they belong to.
    """
    done = {attempt.task for attempt in attempts if attempt.counts}
    counted = [
        attempt
        for attempt in attempts
        if attempt.state != "cancelled" or attempt.cause or (was_killed and attempt.task not in done)
    ]
    if not counted:
        return _from_the_start([PathStep("plan", from_s, now_s)], from_s)

    def end_of(attempt: AttemptSummary) -> float:
        return attempt.end_s(now_s)

    in_order = sorted(counted, key=end_of)
    last, steps = in_order[-1], []
    if last.ended_s is not None and not was_killed:
        steps.append(PathStep("commit", last.ended_s, max(last.ended_s, now_s)))
    while True:
        stage = [each for each in in_order if each.stage == last.stage]
        chain = _before_it(last, stage, end_of)
        began_s = chain[-1].began_s
        phases = dict(last.figures.phases)
        steps.append(PathStep(last.stage, began_s, end_of(last), len(chain), last.name, last.node, phases))
        earlier = _ended_by(began_s, [each for each in in_order if each.stage == "map"], end_of)
        if last.stage == "map" or earlier is None:
            break
        last = earlier
        steps.append(PathStep("wait", end_of(last), max(began_s, end_of(last))))
    steps.append(PathStep("plan", from_s, steps[-1].began_s))
    return _from_the_start(reversed(steps), from_s)


def _from_the_start(steps: Iterable[PathStep], from_s: float) -> tuple[PathStep, ...]:
    before = PathStep("stages", 0.0, from_s)
    return tuple(step for step in (before, *steps) if step.attempts or step.seconds > _SLACK_S)


def _before_it(
    last: AttemptSummary, stage: Sequence[AttemptSummary], end_of: Callable[[AttemptSummary], float]
) -> list[AttemptSummary]:
    """`last`, and before it what it waited for: another attempt on its node, or one of its own task."""
    queues: dict[str, list[AttemptSummary]] = {}
    for each in stage:
        queues.setdefault(f"node {each.node}", []).append(each)
        queues.setdefault(each.task, []).append(each)
    chain = [last]
    while True:
        present = chain[-1]
        found = [
            _ended_by(present.began_s, queues[queue], end_of)
            for queue in (f"node {present.node}", present.task)
        ]
        former = max((each for each in found if each is not None), key=end_of, default=None)
        if former is None or former.began_s >= present.began_s:
            return chain
        chain.append(former)


def _ended_by(
    at_s: float, in_order: Sequence[AttemptSummary], end_of: Callable[[AttemptSummary], float]
) -> AttemptSummary | None:
    """The last of attempts, in the order of their ends, that had ended when something else began."""
    index = bisect_right(in_order, at_s + _SLACK_S, key=end_of)
    return in_order[index - 1] if index else None
