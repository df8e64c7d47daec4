"""Decides from what was observed of a cluster whether it needs another node, or can do without one.

Pressure is what a node bears relative to the target: 1 is the target itself.  The pressure of the cluster is
the mean over its members.

    add      the mean was above `high` for `sustained_s`, or there are fewer members than `least`
    remove   the mean was below `low` for `sustained_s`, and without the node neither the mean nor the highest
             pressure would reach `high`, if its load is shared out among the others
    stay     else

After a change it stays for `cooldown_s`.  It stays as long as an observation has a blocker, and what was
sustained before a blocker does not count.  With a load that does not change, it never undoes what it has
done: what made it add a node forbids that the node is removed.

Pure: a function of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringmill.cluster.errors import InvalidArgument

__all__ = ["Decision", "Observation", "ScalingRules", "decide", "recent"]

Verb = Literal["stay", "add", "remove"]
_SLACK_S: Final = 1e-6  # times are sums of floats


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """What to keep to.  `least` and `most` bound the members, `low` and `high` are relative to the target.

    Raises InvalidArgument, which names the option of `ringmill cluster autoscale`, for what contradicts
    itself.
    """

    least: int
    most: int
    low: float = 0.5
    high: float = 1.0
    sustained_s: float = 30.0
    cooldown_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise InvalidArgument(
                f"--min is {self.least} and --max is {self.most}: need 1 or more, and no more than --max",
                hint="--min 3 --max 7, for example",
            )
        if not 0 < self.low < self.high:
            raise InvalidArgument(
                f"--low is {self.low:.0%} of the target, need more than 0% and less than {self.high:.0%}",
                hint="--low 50%, for example",
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen at `at_s` seconds of any clock that does not go back.

    `pressures` has every member.  `owners` is the most owners that a partition needs.  `removable` are the
    members that may be taken out, the preferred one first.  `blocker` says why nothing may change now, and
    `keeps` why no node may leave; "" when nothing speaks against it.
    """

    at_s: float
    pressures: Mapping[str, float]
    owners: int
    removable: tuple[str, ...] = ()
    blocker: str = ""
    keeps: str = ""

    @property
    def mean(self) -> float:
        """The pressure of the cluster; 0 without members."""
        return sum(self.pressures.values()) / len(self.pressures) if self.pressures else 0.0

    @property
    def highest(self) -> float:
        """The highest pressure of a member; 0 without members."""
        return max(self.pressures.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why.  `node` is the one to remove."""

    verb: Verb
    reason: str
    node: str = ""


def decide(
    observations: Sequence[Observation], rules: ScalingRules, changed_at_s: float | None = None
) -> Decision:
    """The decision at the last of the observations, which are in order of time.

    `changed_at_s`: when the last change was over, or was given up; None before the first one.
    """
    last = observations[-1]
    if last.blocker:
        return Decision("stay", last.blocker)
    if changed_at_s is not None and (left_s := changed_at_s + rules.cooldown_s - last.at_s) > _SLACK_S:
        return Decision("stay", f"cools down for {math.ceil(left_s)} s more")
    count = len(last.pressures)
    if count < rules.least:
        return Decision("add", f"{count} members are fewer than --min {rules.least}")
    since = observations if changed_at_s is None else [o for o in observations if o.at_s >= changed_at_s]
    if last.mean > rules.high:
        return _may_add(since, rules)
    if last.mean < rules.low:
        return _may_remove(since, rules)
    return Decision("stay", f"between {rules.low:.0%} and {rules.high:.0%} of the target")


def recent(observations: Sequence[Observation], rules: ScalingRules) -> list[Observation]:
    """The observations that a later decision can still depend on."""
    oldest_s = observations[-1].at_s - rules.sustained_s if observations else 0.0
    first = max((at for at, each in enumerate(observations) if each.at_s <= oldest_s), default=0)
    return list(observations[first:])


def _may_add(observations: Sequence[Observation], rules: ScalingRules) -> Decision:
    held_s = _held_s([each.blocker == "" and each.mean > rules.high for each in observations], observations)
    count = len(observations[-1].pressures)
    if held_s < rules.sustained_s - _SLACK_S:
        return Decision("stay", f"above the target for {_whole(held_s)} of {rules.sustained_s:g} s")
    if count >= rules.most:
        return Decision("stay", f"above the target, and {count} members are --max {rules.most}")
    return Decision("add", f"above the target for {_whole(held_s)} s")


def _whole(held_s: float) -> int:
    """The seconds that have passed: what is not reached yet is not told."""
    return math.floor(held_s + _SLACK_S)


def _may_remove(observations: Sequence[Observation], rules: ScalingRules) -> Decision:
    last = observations[-1]
    held_s = _held_s([each.blocker == "" and each.mean < rules.low for each in observations], observations)
    below, count = f"below {rules.low:.0%} of the target", len(last.pressures)
    after = 0.0 if count < 2 else max(_after(last, node) for node in last.removable or last.pressures)
    if held_s < rules.sustained_s - _SLACK_S:
        reason = f"{below} for {_whole(held_s)} of {rules.sustained_s:g} s"
    elif count <= rules.least:
        reason = f"{below}, and {count} members are --min {rules.least}"
    elif count <= last.owners:
        reason = f"{below}, and a partition needs {last.owners} owners of {count} members"
    elif last.keeps:
        reason = f"{below}, but {last.keeps}"
    elif not last.removable:
        reason = f"{below}, but no member is one that this command may remove"
    elif after >= rules.high:
        reason = f"{below}, but a node would have {after:.0%} of the target with one node less"
    else:
        reason = f"{below} for {_whole(held_s)} s; at most {after:.0%} of the target with one node less"
        return Decision("remove", reason, last.removable[0])
    return Decision("stay", reason)


def _held_s(holds: Sequence[bool], observations: Sequence[Observation]) -> float:
    """For how long, up to the last observation, it has held at each one."""
    began = len(holds)
    while began and holds[began - 1]:
        began -= 1
    return 0.0 if began == len(holds) else observations[-1].at_s - observations[began].at_s


def _after(seen: Observation, node: str) -> float:
    """The highest pressure, or the mean if that is higher, when the load of `node` is shared out evenly."""
    others = len(seen.pressures) - 1
    share = seen.pressures[node] / others
    stay = [pressure + share for name, pressure in seen.pressures.items() if name != node]
    return max(*stay, sum(seen.pressures.values()) / others)
