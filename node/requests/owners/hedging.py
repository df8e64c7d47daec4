"""When a read asks one more owner because an answer is late, and how many reads may (rule G1).

What is late is learned from the answers themselves: by each other owner those of gets are counted by how long
they took, and an answer is late once it takes longer than 95 of 100 of the owner that would be asked: before
that nothing is won by asking.  An owner that is not known is taken for as slow as the slowest that is.  Where
all are slow the measure grows with them.  Recent answers count more: at `_MOST` of them, and each
`_HALVED_EACH_S`, the counts of an owner are halved.

One more owner costs the others time, so it is paid for: each read earns a share of a hedge.  In a storm in
which all answers are late, no more than that share of the reads is done twice.

Source: Dean and Barroso, "The Tail at Scale" (2013), hedged requests.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.budget import Budget
from ringmill.cluster.ports import Clock
from ringmill.node.node_options import RequestOptions

__all__ = ["UNHEDGED", "Hedging", "Patience"]

UNHEDGED: Final = 8.0
"""How many times as long as usual an owner may be silent, while there is more to do than can be done."""

_SHARE: Final = 0.95  # of the answers of an owner that are not late
_STEPS: Final = 30  # up to the silence after which an owner is replaced in any case
_LEAST: Final = 20  # answers of an owner, before anything is made of them
_MOST: Final = 512
_EVERY: Final = 16  # answers between two looks at the counts
_HALVED_EACH_S: Final = 10.0
_LATELY_S: Final = 60.0
"""An owner that has not answered for longer is down, has left or owns nothing here, and decides nothing."""


class Patience(NamedTuple):
    """How long a read waits for owners that are silent, in seconds.

    After `hedge_s`, or longer where the next owner is slower (`Hedging.late_s`), it asks one more if the
    budget has a hedge; after `stall_s` it replaces all that are silent.  Where both are the same there is no
    hedge.
    """

    hedge_s: float
    stall_s: float


class _Answers:
    """Those of one owner: how many took up to each step, the last one being of all that took longer."""

    __slots__ = ("counts", "halved_at", "heard_at", "total")

    def __init__(self, now: float) -> None:
        self.counts = [0] * (_STEPS + 1)
        self.total = 0
        self.heard_at = self.halved_at = now

    def fade(self, now: float) -> None:
        """Let old answers count less, but stay known where there are few new ones."""
        while now - self.halved_at >= _HALVED_EACH_S:
            self.halved_at += _HALVED_EACH_S
            if self.total >= 2 * _LEAST:
                self.halve()

    def usual_steps(self) -> int:
        """The step within which 95 of 100 have come; above `_STEPS` when it is the last one."""
        within, most = 0, self.total * _SHARE
        for step, count in enumerate(self.counts, 1):  # most answers are in the first ones
            within += count
            if within >= most:
                return step
        return _STEPS + 1

    def halve(self) -> None:
        self.counts = [count // 2 for count in self.counts]
        self.total = sum(self.counts)


class Hedging:
    """Of one node.  Used by its event loop; `patience` is as of the last answers."""

    def __init__(self, clock: Clock, options: RequestOptions) -> None:
        self._clock = clock
        self._floor_s = options.hedge_floor_s
        self._stall_s = options.stall_s
        self._step_s = options.stall_s / _STEPS
        self._budget = Budget(options.hedge_share, options.hedges_saved)
        self.begun = self._budget.earn
        """To be called for each read: it earns its share of a hedge."""
        self._answers: dict[NodeId, _Answers] = {}
        self._until_look = _EVERY
        self._usual: dict[NodeId, int] = {}  # steps, of the owners that are known
        self._late_s: dict[NodeId, float] = {}
        self._late_unknown_s = self._stall_s
        self.patience = Patience(self._stall_s, self._stall_s)
        self.crowded = self._widened(self.patience)
        """The patience while this node has more to do than it can (rule O7)."""
        self.hedged = 0
        """Reads that have asked one more owner, since the start."""
        self.refused = 0
        """Those that could not, as the budget had no hedge left, since the start."""

    def may_hedge(self) -> bool:
        """Take a hedge for a read with a late answer, if there is one."""
        if self._budget.spend():
            self.hedged += 1
            return True
        self.refused += 1
        return False

    def late_s(self, node: NodeId) -> float:
        """How long a read waits before it asks this owner besides."""
        return self._late_s.get(node, self._late_unknown_s)

    def answered(self, node: NodeId, took_s: float) -> None:
        """Another owner has answered a read, after this time."""
        now = self._clock.monotonic()
        answers = self._answers.get(node)
        if answers is None or now - answers.heard_at > _LATELY_S:
            answers = self._answers[node] = _Answers(now)
        elif now - answers.halved_at >= _HALVED_EACH_S:
            answers.fade(now)
        answers.counts[min(int(took_s / self._step_s), _STEPS)] += 1
        answers.total += 1
        answers.heard_at = now
        if answers.total >= _MOST:
            answers.halve()
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = _EVERY
            self._learn(now)

    def _learn(self, now: float) -> None:
        for node, answers in list(self._answers.items()):
            if now - answers.heard_at > _LATELY_S:
                del self._answers[node]
        usual = {node: each.usual_steps() for node, each in self._answers.items() if each.total >= _LEAST}
        if usual == self._usual:
            return
        self._usual = usual
        known = list(usual.values())
        self._late_s = {node: self._after_steps(steps) for node, steps in usual.items()}
        self._late_unknown_s = max(self._late_s.values(), default=self._stall_s)
        stall_s = self._stall_s
        if not known:
            self.patience = Patience(stall_s, stall_s)
        elif min(known) > _STEPS:  # all are as late as one that would be replaced
            self.patience = Patience(stall_s, UNHEDGED * stall_s)
        else:
            self.patience = Patience(self._after_steps(min(known)), stall_s)
        self.crowded = self._widened(self.patience)

    def _after_steps(self, steps: int) -> float:
        return min(self._stall_s, max(self._floor_s, steps * self._step_s))

    def _widened(self, patience: Patience) -> Patience:
        most_s = UNHEDGED * self._stall_s
        return Patience(min(most_s, UNHEDGED * patience.hedge_s), most_s)
