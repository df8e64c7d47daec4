"""Tells how a read of a register went, from what was noted of it: who said what to which question, and why
the next one followed.

Nothing is decided here: the reasons are those of node/requests/registers/coordinator.py (rules R1, R3, R5).
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.register_codec import decode_register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.ids import NodeId
from ringmill.cluster.wire.stubs.explain_pb2 import (
    ExplainedGet,
    ExplainedOwner,
    ExplainedQuestion,
    ExplainedRegister,
    ExplainedRest,
)
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, READ_REGISTER, RegisterAnswer
from ringmill.node.requests.registers.register_values import RegisterResult
from ringmill.node.requests.registers.round_trace import QuestionTrace, RegisterTrace

__all__ = ["fill_owner", "fill_register"]

_WORDS: Final = {READ_REGISTER: "read", PREPARE: "prepare", ACCEPT: "accept"}
_SETTLED: Final = {READ_REGISTER: "quorum", PREPARE: "round", ACCEPT: "written"}
_DONE: Final = {READ_REGISTER: "answered", PREPARE: "promised", ACCEPT: "accepted"}


def fill_register(explained: ExplainedGet, trace: RegisterTrace, result: RegisterResult | None) -> None:
    """`result` is None when the read failed."""
    questions = trace.questions
    told = ExplainedRegister()
    if result is not None:
        told.version, told.settled = result.version, _SETTLED[questions[-1].method]
        explained.values = int(result.value is not None)
    for question, following in zip_longest(questions, questions[1:]):
        told.questions.append(_question(question, following, is_done=result is not None))
    explained.register.CopyFrom(told)


def fill_owner(explained: ExplainedOwner, node: NodeId, trace: RegisterTrace) -> None:
    """What the owner said to the first question that it did as asked, or else to the first at all."""
    asked = [each for each in trace.questions if node in each.route.owners]
    if not asked:
        return
    question = next((each for each in asked if _has_told(each, node)), asked[0])
    explained.asked, explained.asked_us = True, _us(question.asked_s)
    said = question.said.get(node)
    if said is None:
        explained.silent = _is_waited_for(question)
    else:
        explained.took_us = _us(said.at_s - question.asked_s)
        explained.error = said.error
        if said.answer is not None:
            _fill_answer(explained, question, said.answer)
    accepts = [each for each in asked if each.method == ACCEPT]
    if accepts:
        explained.written_back = any(node in each.tally.agreed for each in accepts)
        if not explained.written_back:
            explained.write_back_error = accepts[-1].tally.reasons("no ack yet").get(node, "")


def _is_waited_for(question: QuestionTrace) -> bool:
    """Whether it went on for as long as there was time, and those who said nothing were waited for."""
    return not question.tally.is_met and not question.tally.is_lost


def _has_told(question: QuestionTrace, node: NodeId) -> bool:
    return question.method != ACCEPT and node in question.tally.agreed


def _fill_answer(explained: ExplainedOwner, question: QuestionTrace, answer: RegisterAnswer) -> None:
    explained.accepted = _ballot(answer.accepted)
    if answer.refused_counter:  # nothing else is told
        explained.error = question.tally.reasons("").get(NodeId(explained.node), "")
        explained.promised = f"{answer.refused_counter}.?"
        return
    explained.answered, explained.bytes = True, len(answer.value)
    explained.version = decode_register(answer.value).version
    explained.same = answer.accepted == question.tally.highest_accepted.proposed
    promised = answer.promised if question.method == READ_REGISTER else question.ballot
    explained.promised = "" if promised is None else _ballot(promised)


def _question(
    question: QuestionTrace, following: QuestionTrace | None, *, is_done: bool
) -> ExplainedQuestion:
    tally = question.tally
    explained = ExplainedQuestion(
        question=_WORDS[question.method],
        ballot=_ballot(question.ballot),
        asked_us=_us(question.asked_s),
        took_us=_us(question.ended_s - question.asked_s),
        agreed=tally.agreed,
        decision=_decision(question, following, is_done=is_done or following is not None),
    )
    silent = "not waited for"
    if _is_waited_for(question):
        silent = f"no answer within {question.ended_s - question.asked_s:.2f} s"
    for node, reason in tally.reasons(silent).items():
        explained.others.append(ExplainedRest(node=node, reason=reason))
    return explained


def _decision(question: QuestionTrace, following: QuestionTrace | None, *, is_done: bool) -> str:
    """What followed from the answers; unless `is_done` the read failed with this question."""
    tally = question.tally
    if not tally.is_met:
        return f"{_too_few(question)}: {_after_too_few(question, following) if is_done else 'it fails'}"
    if question.method == ACCEPT:
        return f"{len(tally.agreed)} of {tally.size} have accepted it: it stands, and is shown"
    what = "nothing" if tally.highest_accepted == NO_BALLOT else _ballot(tally.highest_accepted.proposed)
    if following is None:
        return _without_a_round(tally, what, is_done=is_done)
    return _why_a_round(question, what)


def _without_a_round(tally: RoundTally, what: str, *, is_done: bool) -> str:
    if not tally.is_chosen:
        return f"no majority has accepted {what}, and no time was left for a round"
    agreeing = f"a majority has accepted {what}, and nobody who answered a higher ballot"
    if tally.highest_accepted == NO_BALLOT:
        agreeing = "nobody who answered has accepted anything"
    return f"{agreeing}: {'it is shown, and nothing is written' if is_done else 'no time was left'}"


def _why_a_round(question: QuestionTrace, what: str) -> str:
    """Why a read goes on to prepare, or a round to accept."""
    tally = question.tally
    if tally.is_chosen:
        return "no value, and a version that removed registers have left: a round writes it down"
    found = f"no majority tells of {what}, the highest ballot"
    if question.method == READ_REGISTER:
        return f"{found}: a round finishes that change"
    return f"{len(tally.agreed)} of {tally.size} have promised, and {found}: its value is written back"


def _too_few(question: QuestionTrace) -> str:
    tally = question.tally
    done = _DONE[question.method]
    return f"{len(tally.agreed)} of {tally.size} {done}, and {tally.majority} have to"


def _after_too_few(question: QuestionTrace, following: QuestionTrace | None) -> str:
    tally = question.tally
    if question.method == READ_REGISTER:
        return "a round asks them again"
    if tally.is_preempted:
        return f"somebody has a ballot that counts to {tally.highest_counter}: again above it, after a pause"
    epoch = question.route.epoch if following is None else following.route.epoch
    return f"the owners have changed: on with those of epoch {epoch}"


def _ballot(ballot: Ballot) -> str:
    """As text; "" for none."""
    if ballot == NO_BALLOT:
        return ""
    return str(ballot) if ballot == ballot.proposed else f"copy of {ballot.proposed}"


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
