"""Asks for what `explain` returns: the decisions of one read, and what each owner said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ringmill.client.routing.attempts import attempt_message
from ringmill.client.routing.links import EXPLAIN
from ringmill.client.routing.router import Router, Target

if TYPE_CHECKING:
    from ringmill.cluster.wire.stubs.explain_pb2 import (
        ExplainedGet,
        ExplainedOwner,
        ExplainedQuestion,
        ExplainedRegister,
    )
    from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest

__all__ = ["Explanation", "OwnerPart", "QuestionPart", "RegisterPart", "explanation_by"]


@dataclass(frozen=True, slots=True)
class OwnerPart:
    """One owner's part in a read.  Times are in milliseconds, `asked_ms` since the read began.

    Of a register an owner has `promised` and `accepted` ballots, and the `version` that it holds, in place of
    `dots`; it is the `same` if it has accepted the highest ballot that was told.
    """

    node: str
    state: str
    asked: bool
    answered: bool
    asked_ms: float
    took_ms: float
    silent: bool
    error: str
    bytes: int
    dots: tuple[str, ...]
    same: bool
    written_back: bool
    write_back_error: str
    hinted: bool
    promised: str = ""
    accepted: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class QuestionPart:
    """One question to all owners of a register, `read`, `prepare` or `accept`; `others` are those who had not
    done as asked when it was over, and why.  `decision` is what followed."""

    question: str
    ballot: str
    asked_ms: float
    took_ms: float
    agreed: tuple[str, ...]
    others: tuple[tuple[str, str], ...]
    decision: str


@dataclass(frozen=True, slots=True)
class RegisterPart:
    """How a register was read: `settled` is `quorum` when the answers to the read were enough, `round` when a
    round was needed that wrote no value, `written` when one wrote it, and empty when the read failed."""

    settled: str
    version: int
    questions: tuple[QuestionPart, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`candidates` are the addresses in the order in which this client would ask them, and why a silent one
    comes late; `coordinator` is the node that answered.  `error` is why the read failed.
    `register` is None for an object."""

    candidates: tuple[tuple[str, bool], ...]  # address, and whether it was silent the last time
    coordinator: str
    keyspace: str
    position: int
    partition: int
    epoch: int
    row_epoch: int
    r: int
    weak: bool
    owners: tuple[OwnerPart, ...]
    fallbacks: tuple[str, ...]
    values: int
    took_ms: float
    error: str
    register: RegisterPart | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        document = asdict(self)
        document["candidates"] = [{"address": each, "silent": silent} for each, silent in self.candidates]
        document["fallbacks"] = list(self.fallbacks)
        document["owners"] = [{**asdict(owner), "dots": list(owner.dots)} for owner in self.owners]
        if self.register is not None:
            document["register"] = {
                **asdict(self.register),
                "questions": [
                    {**asdict(each), "agreed": list(each.agreed), "others": dict(each.others)}
                    for each in self.register.questions
                ],
            }
        return document


async def explanation_by(router: Router, request: GetRequest, timeout_s: float | None) -> Explanation:
    """Have a node do the read and tell how it went."""
    target = Target(request.keyspace, request.key)
    candidates = router.candidates(target)
    answer = await router.ask(EXPLAIN, partial(attempt_message, request), target=target, timeout_s=timeout_s)
    return _explanation_of(answer, candidates)


def _explanation_of(message: ExplainedGet, candidates: Sequence[tuple[str, bool]]) -> Explanation:
    return Explanation(
        candidates=tuple(candidates),
        coordinator=message.coordinator,
        keyspace=message.keyspace,
        position=message.position,
        partition=message.partition,
        epoch=message.epoch,
        row_epoch=message.row_epoch,
        r=message.r,
        weak=message.weak,
        owners=tuple(map(_owner, message.owners)),
        fallbacks=tuple(message.fallbacks),
        values=message.values,
        took_ms=message.took_us / 1000,
        error=message.error,
        register=_register(message.register) if message.HasField("register") else None,
    )


def _register(message: ExplainedRegister) -> RegisterPart:
    return RegisterPart(message.settled, message.version, tuple(map(_question, message.questions)))


def _question(message: ExplainedQuestion) -> QuestionPart:
    return QuestionPart(
        question=message.question,
        ballot=message.ballot,
        asked_ms=message.asked_us / 1000,
        took_ms=message.took_us / 1000,
        agreed=tuple(message.agreed),
        others=tuple((each.node, each.reason) for each in message.others),
        decision=message.decision,
    )


def _owner(message: ExplainedOwner) -> OwnerPart:
    return OwnerPart(
        node=message.node,
        state=message.state,
        asked=message.asked,
        answered=message.answered,
        asked_ms=message.asked_us / 1000,
        took_ms=message.took_us / 1000,
        silent=message.silent,
        error=message.error,
        bytes=message.bytes,
        dots=tuple(message.dots),
        same=message.same,
        written_back=message.written_back,
        write_back_error=message.write_back_error,
        hinted=message.hinted,
        promised=message.promised,
        accepted=message.accepted,
        version=message.version,
    )
