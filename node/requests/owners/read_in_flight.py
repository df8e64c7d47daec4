"""One read in flight: owners are asked for a key until enough have answered under one row epoch.

The nearest live owners are asked first.  One that fails is replaced at once, one that stays silent for long
is replaced too, so that a stopped process costs a read a moment and not its deadline.  Beside one whose
answer is late one more is asked before, while the budget lasts (node/requests/owners/hedging.py).  Rule G1.
It counts answers and never waits.  Its handler asks the owners (node/requests/owners/read_dispatcher.py).

One owner is asked for the object, the others for its digest if it is large (rule G6).  A digest is an answer
when it is that of an object that another owner has sent; else its owner is asked again, for the object.
Until then it has not answered, so that one that dies meanwhile is replaced as any other.

The error of a read that ran out of time says so, as its client then asks again (rule D1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from ringmill.cluster.deadline_wheel import Bucket
from ringmill.cluster.errors import QuorumNotReached, RingmillError, WrongEpoch, reason_of
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.message_batcher import MessageBatcher
from ringmill.cluster.quorum.tally import ReadTally
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.digests import RecentDigests
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.lone_value import LoneValue
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject, merge_all
from ringmill.cluster.versions.seen import Needed
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.owners.hedging import Patience

__all__ = [
    "OnAnswers",
    "OwnerObject",
    "OwnerAnswers",
    "Question",
    "QuestionBatcher",
    "ReadHandler",
    "ReadInFlight",
    "ReadTurn",
]


class OwnerObject:
    """The object of an owner, as it was sent.  `lone` is set when it is one value; else it is decoded at
    once."""

    __slots__ = ("_digest", "_digests", "_stored", "encoded", "lone")

    def __init__(
        self, encoded: bytes, lone: LoneValue | None, stored: StoredObject | None, digests: RecentDigests
    ) -> None:
        self.encoded = encoded
        self._digests = digests
        self.lone = lone
        self._stored = stored
        self._digest = b""

    @property
    def digest(self) -> bytes:
        if not self._digest:
            self._digest = self._digests.of(self.encoded)
        return self._digest

    @property
    def stored(self) -> StoredObject:
        stored = self._stored
        if stored is None:
            stored = self._stored = decode_object(self.encoded)
        return stored


class OwnerAnswers:
    """The answers by owner, in the order in which they came.  Equal answers are one `OwnerObject`."""

    __slots__ = ("by_owner",)

    def __init__(self, by_owner: dict[NodeId, OwnerObject]) -> None:
        self.by_owner = by_owner

    @property
    def objects(self) -> dict[NodeId, StoredObject]:
        return {node: each.stored for node, each in self.by_owner.items()}

    @property
    def merged(self) -> StoredObject:
        return merge_all(each.stored for each in self.by_owner.values())

    @property
    def agreed(self) -> OwnerObject | None:
        """The answer of all owners; None when they differ."""
        answers = iter(self.by_owner.values())
        first = next(answers)
        for each in answers:
            if each is not first:
                return None
        return first


OnAnswers: TypeAlias = Callable[[OwnerAnswers | QuorumNotReached], None]
"""Called once, with the answers of `r` owners, or with who answered and why the others did not; nothing was
changed then."""


class ReadHandler(Protocol):
    """Acts for a read in flight (node/requests/owners/read_dispatcher.py)."""

    def ask(self, read: ReadInFlight, node: NodeId) -> None:
        """Ask an owner for its object or the digest of it.

        `record_answer`, `record_digest` or `record_failure` is called with what it says, perhaps at once.
        """
        ...

    def ask_whole(self, read: ReadInFlight, node: NodeId) -> None:
        """Ask an owner for its object, however large; it may have sent a digest before."""
        ...

    def decode(self, read: ReadInFlight, encoded: bytes) -> OwnerObject:
        """Raises RingmillError for what no owner can hold."""
        ...

    def note_silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        """Note that these owners have not answered for so long."""
        ...

    def late_s(self, node: NodeId) -> float:
        """How long others may take before this owner is asked besides; infinity when it is seen down."""
        ...

    def may_hedge(self) -> bool:
        """Whether a read with a late answer may ask one more owner; if so, that is paid for."""
        ...

    def call_after(self, read: ReadInFlight, patience_s: float) -> Bucket:
        """Have `expire` called after so long, unless the read is taken out of the bucket before."""
        ...


Question: TypeAlias = tuple[NodeId, KeyspaceId, Epoch]
"""What questions that travel in one message have in common: whom they ask, of which keyspace and in which
epoch."""


class ReadInFlight:
    __slots__ = (
        "_answers", "_bucket", "_decoded", "_digests", "_handler", "_hedge_s", "_is_asking", "_needed",
        "_on_done", "_pause_s", "_stall_s", "_tally", "_waited_s", "_was_late", "_watermark", "batcher",
        "deadline", "message", "object_source", "route",
    )  # fmt: skip

    def __init__(
        self,
        handler: ReadHandler,
        route: Route,
        r: int,
        nearest_first: Sequence[NodeId],
        deadline: Deadline,
        patience: Patience,
        on_done: OnAnswers,
        needed: Needed | None = None,
    ) -> None:
        self.route = route
        self.deadline = deadline
        self.message = b""  # what every owner is asked, made when the first is
        self.object_source: NodeId | None = None  # the owner asked for the object, whatever its size
        self.batcher: QuestionBatcher | None = None  # while its frame is being taken in
        self._digests: dict[NodeId, tuple[bytes, Epoch, HybridTime]] | None = None  # came before any object
        self._handler = handler
        self._tally = ReadTally(r, nearest_first, route.row.row_epoch)
        hedge_s, stall_s = patience
        self._hedge_s = hedge_s
        quarter_s = deadline.allowed_s / 4
        self._stall_s = stall_s = stall_s if stall_s < quarter_s else quarter_s
        self._was_late = hedge_s >= stall_s  # so that nothing is left to be hedged
        self._pause_s = 0.0  # the last one, after which `expire` is called
        self._waited_s = 0.0  # of the time after which owners are replaced, when no hedge was left
        self._on_done: OnAnswers | None = on_done
        self._needed = needed
        self._answers: dict[NodeId, OwnerObject] = {}
        self._decoded: OwnerObject | None = None  # the last
        self._bucket: Bucket | None = None
        self._is_asking = False
        self._watermark = ZERO

    @property
    def is_over(self) -> bool:
        return self._on_done is None

    def record_answer(
        self, node: NodeId, encoded: bytes, row_epoch: Epoch, watermark: HybridTime = ZERO
    ) -> None:
        """Record the object of an owner; b"" when nothing was ever written there, or when what was written at
        or below `watermark` was deleted and forgotten."""
        if self._on_done is None:
            return
        try:
            answer = self._decode(encoded)
        except RingmillError as error:
            self.record_failure(node, error)
            return
        if self._tally.record_answer(node, row_epoch):
            self._answers[node] = answer
            if watermark > self._watermark:  # noqa: PLR1730 - faster than max()
                self._watermark = watermark
        if self._digests:
            self._compare_digests(answer)
        self._step()

    def record_digest(
        self, node: NodeId, digest: bytes, row_epoch: Epoch, watermark: HybridTime = ZERO
    ) -> None:
        """Record that an owner holds an object with this digest, its watermark being `watermark`."""
        if self._on_done is None:
            return
        for answer in self._answers.values():
            if answer.digest == digest:
                self._take_as_equal(node, answer, row_epoch, watermark)
                return
        if self._answers or self.object_source is None:
            self._ask_whole(node)
        else:
            self._digests = self._digests or {}
            self._digests[node] = digest, row_epoch, watermark

    def record_failure(self, node: NodeId, error: Exception) -> None:
        """Record why an owner gives no answer."""
        if self._on_done is not None:
            self._tally.record_failure(node, reason_of(error))
            self._tally.newer_epoch = max(self._tally.newer_epoch, WrongEpoch.epoch_of(error))
            if node == self.object_source:
                self._replace_object_source()
            self._step()

    def expire(self) -> None:
        """Ask others, or give a lost level up: the owners asked have been silent for long."""
        self._bucket = None
        if self._tally.is_lost or self.deadline.left_s <= 0:
            self._fail()
            return
        silent = [node for node in self._tally.outstanding if node not in (self._digests or ())]
        waited_s = self._waited_s + self._pause_s
        self._handler.note_silent(silent, waited_s)
        if silent and self._pause_s < self._stall_s and self._may_be_hedged(self._tally.next_unasked):
            self._was_late = True
            self._hedge(silent, waited_s)
        else:
            sometimes("a read replaces a silent owner")
            self._waited_s = 0.0
            self._tally.record_stall()
            if self.object_source in silent:
                self._replace_object_source()
        self._step()

    def _hedge(self, silent: Sequence[NodeId], waited_s: float) -> None:
        """Ask one more owner, as these are late after `waited_s`, or wait on when the budget is used up."""
        if not self._handler.may_hedge():
            sometimes("a late read has no hedge left")
            self._waited_s = waited_s
            return
        sometimes("a read asks one more owner as an answer is late")
        late = self.object_source if self.object_source in silent else silent[0]
        assert late is not None
        self._tally.record_late(late)
        if late == self.object_source:
            self._replace_object_source()

    def forget(self) -> None:
        """Drop what is kept for the caller: nobody waits any more."""
        self._on_done = None
        self._answers, self._decoded, self._digests = {}, None, None  # a silent owner may keep this for long
        self.message = b""
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None

    def _compare_digests(self, answer: OwnerObject) -> None:
        """Compare the digests with the first object: owners with the same have answered, others are asked for
        their object."""
        digests, self._digests = self._digests or {}, None
        for node, (digest, row_epoch, watermark) in digests.items():
            if digest == answer.digest:
                self._take_as_equal(node, answer, row_epoch, watermark)
            else:
                self._ask_whole(node)

    def _take_as_equal(
        self, node: NodeId, answer: OwnerObject, row_epoch: Epoch, watermark: HybridTime
    ) -> None:
        sometimes("a digest stands for an object")
        self.record_answer(node, answer.encoded, row_epoch, watermark)

    def _ask_whole(self, node: NodeId) -> None:
        sometimes("a digest differs, and its owner tells the object")
        if self._on_done is not None:
            self.object_source = self.object_source or node
            self._handler.ask_whole(self, node)

    def _replace_object_source(self) -> None:
        """Choose another owner to send its object, as the one that was asked fails or is silent: one that has
        sent a digest, else the next that is asked at all."""
        self.object_source = None
        if self._digests:
            node = next(iter(self._digests))
            del self._digests[node]
            self._ask_whole(node)

    def _decode(self, encoded: bytes) -> OwnerObject:
        """Decode an answer; equal bytes are equal objects, and are decoded once."""
        known = self._decoded
        if known is None or known.encoded != encoded:
            known = self._decoded = self._handler.decode(self, encoded)
        return known

    def _step(self) -> None:
        """End if enough have answered, else ask further owners where that is due."""
        if self._on_done is None:
            return
        tally = self._tally
        if tally.is_met and (self._needed is None or self._covers_session()):
            self._end(OwnerAnswers(self._answers))
        elif not self._is_asking:
            self.ask_more()

    def _covers_session(self) -> bool:
        """Whether the answers cover what the session of this read has seen; if not, one more owner has to
        answer (rule S1)."""
        if self._missing() is None:
            return True
        sometimes("a read asks on for what its session has seen")
        self._tally.r += 1
        return False

    def _missing(self) -> Dot | None:
        known = EMPTY_VECTOR
        for answer in self._answers.values():
            known = known.join(answer.stored.context)
        return None if self._needed is None else self._needed.missing(known, self._watermark)

    def ask_more(self) -> None:
        """Ask as many owners as the level needs; to begin with, the first ones."""
        tally = self._tally
        self._is_asking = True  # an owner may answer at once
        while nodes := tally.next_to_ask():
            for node in nodes:
                self._handler.ask(self, node)
        self._is_asking = False
        if self._on_done is None:
            return
        is_lost = tally.is_lost
        if is_lost and not tally.outstanding:
            self._fail()
            return
        if self._bucket is not None:
            self._bucket.pop(self, None)
        self._pause_s = self._patience_s(is_lost=is_lost)
        self._bucket = self._handler.call_after(self, self._pause_s)

    def _patience_s(self, *, is_lost: bool) -> float:
        """How long to wait before somebody else is asked, or a level that `is_lost` is given up; to the end
        when nobody else is left to ask."""
        left_s, patience_s = self.deadline.left_s, self._stall_s - self._waited_s
        if not is_lost:
            unasked = self._tally.next_unasked
            if unasked is None:
                return left_s
            if self._may_be_hedged(unasked):
                late_s, hedge_s = self._handler.late_s(unasked), self._hedge_s
                late_s = late_s if late_s > hedge_s else hedge_s
                patience_s = late_s if late_s < patience_s else patience_s
        return patience_s if patience_s < left_s else left_s

    def _may_be_hedged(self, unasked: NodeId | None) -> bool:
        """Whether this next owner may be asked once an answer is late.  A fallback is none: with its answer
        the read would be weak (rule G5)."""
        return not self._was_late and unasked in self.route.owners

    def _fail(self) -> None:
        sometimes("a read does not meet its quorum")
        tally, deadline = self._tally, self.deadline
        silent = f"no answer within {deadline.allowed_s - deadline.left_s:.2f} s"
        reasons = tally.reasons(silent)
        missing = self._missing() if self._needed is not None and tally.answered else None
        if missing is not None:
            self._end(_short_of_session(missing, tally, reasons, is_late=deadline.left_s <= 0))
            return
        self._end(
            QuorumNotReached.of(
                "get",
                tally.r,
                tally.answered,
                reasons,
                outcome="failed",
                newer_epoch=tally.newer_epoch,
                is_late=deadline.left_s <= 0,
            )
        )

    def _end(self, outcome: OwnerAnswers | QuorumNotReached) -> None:
        on_done = self._on_done
        if on_done is not None:
            self.forget()
            on_done(outcome)


QuestionBatcher: TypeAlias = MessageBatcher[Question, ReadInFlight]


class ReadTurn(NamedTuple):
    """What reads have in common that begin in one turn of the loop: nothing is heard meanwhile."""

    busy: Mapping[str, int]
    """The other nodes that have much under way (rule G4)."""
    patience: Patience
    nearest: dict[tuple[NodeId, ...], Sequence[NodeId]]
    """The order in which those are asked whom reads of a partition ask."""


def _short_of_session(
    missing: Dot, tally: ReadTally, reasons: Mapping[str, str], *, is_late: bool
) -> QuorumNotReached:
    """The error of a read that would go back behind what its session has seen; `is_late` as in
    QuorumNotReached.of."""
    sometimes("a read fails as nobody shows what its session has seen")
    others = "; ".join(f"{node}: {why}" for node, why in sorted(reasons.items())) or "all owners answered"
    return QuorumNotReached(
        f"the session has seen write {missing}, and no owner that answered holds it "
        f"({', '.join(tally.answered)}); {others}",
        detail={
            "need": tally.r,
            "acked": list(tally.answered),
            "failed": dict(reasons),
            "session": str(missing),
            **({"epoch": tally.newer_epoch} if tally.newer_epoch else {}),
            **({"late": True} if is_late else {}),
        },
        hint="try again when more owners are up; a new session begins with what it finds",
        outcome="failed",
    )
