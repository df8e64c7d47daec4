"""What one read of a register asked its owners, and what they said, noted while it runs (rule R3).

The read itself is the same: a watch of a round notes what is counted (node/requests/registers/rounds.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import RingmillError, reason_of
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.node.replica.registers.register_messages import RegisterAnswer
from ringmill.node.replica.routes import Route

__all__ = ["OwnerSaid", "QuestionTrace", "RegisterTrace"]


@dataclass(frozen=True, slots=True)
class OwnerSaid:
    """The last that an owner said to a question: an answer, or why there is none."""

    at_s: float
    answer: RegisterAnswer | None
    error: str = ""


@dataclass(slots=True)
class QuestionTrace:
    """One question to all owners: read, prepare or accept.  Times are in seconds since the read began.

    What came once it was over did not count, and is not here.
    """

    trace: RegisterTrace
    method: str
    ballot: Ballot
    route: Route
    tally: RoundTally
    asked_s: float
    ended_s: float = 0.0
    said: dict[NodeId, OwnerSaid] = field(default_factory=dict)

    def note_answer(self, node: NodeId, answer: RegisterAnswer) -> None:
        self.said[node] = OwnerSaid(self.trace.spent_s, answer)

    def note_failure(self, node: NodeId, error: RingmillError) -> None:
        self.said[node] = OwnerSaid(self.trace.spent_s, None, reason_of(error))

    def end(self) -> None:
        self.ended_s = self.trace.spent_s


@dataclass(slots=True)
class RegisterTrace:
    """How one read went: its questions, in their order."""

    clock: Clock
    begun: float = field(init=False)
    questions: list[QuestionTrace] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = self.clock.monotonic()

    @property
    def spent_s(self) -> float:
        return self.clock.monotonic() - self.begun

    @property
    def routes(self) -> list[Route]:
        """Whose owners were asked; more than one when the row of the key has changed meanwhile."""
        return [each.route for each in self.questions]

    def begin(self, method: str, ballot: Ballot, route: Route, tally: RoundTally) -> QuestionTrace:
        question = QuestionTrace(self, method, ballot, route, tally, self.spent_s)
        self.questions.append(question)
        return question
