"""How long a proposer that was preempted pauses before its next round.

The one that came first needs the time of its own rounds.  So the pause doubles with each round that was lost
in a row, from the time that a question takes; whoever pauses draws its share of that, so that two do not meet
again.  Rules R1 (docs/protocol/registers.md) and T2 (docs/protocol/topology.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_PREEMPTED", "PreemptionPause"]

MOST_PREEMPTED: Final = 10  # more lost rounds make the pause no longer


@dataclass(frozen=True, slots=True)
class PreemptionPause:
    """The bounds of a pause.

    It grows to `longest_questions` questions as they take here, if that is longer than `longest_s`: a shorter
    one ends while another proposer's round goes on, and preempts it.
    """

    first_s: float
    longest_s: float
    longest_questions: int

    def most_s(self, question_s: float, preempted: int) -> float:
        """The longest pause after `preempted` lost rounds in a row, when a question took `question_s`."""
        grown_s = max(self.first_s, question_s) * float(2**preempted)
        return min(grown_s, max(self.longest_s, self.longest_questions * question_s))
