"""One read on its way: asks owners for a key until enough have answered under one row epoch.

The nearest live ones first.  One that fails is replaced at once, one that stays silent for long is replaced
too, so that a stopped process costs a read a moment and not its deadline (rule G1).  It waits for nothing: an
answer, a failure and the end of its patience are events.

One owner is asked for the object, the others for its digest if it is large (rule G6).  A digest is an answer
when it is that of an object that somebody else has told; else its owner is asked again, for the object.
Until then it has not answered, so that one that dies meanwhile is replaced as any other.

What it fails with says when its time was over, as its client then asks again (rule D1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from ringmill.cluster.deadline_wheel import Bucket
from ringmill.cluster.errors import QuorumNotReached, RingmillError, WrongEpoch
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.quorum.tally import ReadTally
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.together import Together
from ringmill.cluster.versions.digests import RecentDigests
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.lone_value import LoneValue
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject, merge_all
from ringmill.cluster.versions.seen import Needed
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline

__all__ = ["Question", "AskedTogether", "Asker", "Collected", "CollectionEnded", "Collection", "Held"]


class Held:
    """What an owner holds.  `lone` is set when that is one value; else the object is made at once."""

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


class Collected:
    """Each answer by owner, in the order of answering.  Equal answers are one `Held`."""

    __slots__ = ("held",)

    def __init__(self, held: dict[NodeId, Held]) -> None:
        self.held = held

    @property
    def answers(self) -> dict[NodeId, StoredObject]:
        return {node: each.stored for node, each in self.held.items()}

    @property
    def merged(self) -> StoredObject:
        return merge_all(each.stored for each in self.held.values())

    @property
    def agreed(self) -> Held | None:
        """What all of them hold; None when they differ."""
        answers = iter(self.held.values())
        first = next(answers)
        for each in answers:
            if each is not first:
                return None
        return first


CollectionEnded: TypeAlias = Callable[[Collected | QuorumNotReached], None]
"""Told once: the answers of `r` owners, or who answered and why the others did not (nothing was changed)."""


class Asker(Protocol):
    """What a collection calls upon (node/requests/owners/collect.py)."""

    def ask(self, collection: Collection, node: NodeId) -> None:
        """Have `heard` or `failed` called with what this owner says, perhaps at once."""
        ...

    def ask_whole(self, collection: Collection, node: NodeId) -> None:
        """The same for an owner that has told a digest: it is to tell its object."""
        ...

    def decode(self, collection: Collection, encoded: bytes) -> Held:
        """Raises RingmillError for what no owner can hold."""
        ...

    def silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        """They have not answered for so long."""
        ...

    def wait(self, collection: Collection, patience_s: float) -> Bucket:
        """Have `expire` called after so long, unless it is taken out before."""
        ...


Question: TypeAlias = tuple[NodeId, KeyspaceId, Epoch]
"""What questions that travel in one message have in common: whom they ask, of which keyspace and in which
epoch."""


class Collection:
    __slots__ = (
        "_answers", "_asker", "_bucket", "_decoded", "_digests", "_ended", "_is_asking", "_mark", "_needed",
        "_stall_s", "_tally", "deadline", "message", "route", "teller", "together",
    )  # fmt: skip

    def __init__(
        self,
        asker: Asker,
        route: Route,
        r: int,
        nearest_first: Sequence[NodeId],
        deadline: Deadline,
        stall_s: float,
        ended: CollectionEnded,
        needed: Needed | None = None,
    ) -> None:
        self.route = route
        self.deadline = deadline
        self.message = b""  # what every owner is asked, made when the first is
        self.teller: NodeId | None = None  # who is asked for its object, whatever its size
        self.together: AskedTogether | None = None  # while its frame is being taken
        self._digests: dict[NodeId, tuple[bytes, Epoch, HybridTime]] | None = None  # told before any object
        self._asker = asker
        self._tally = ReadTally(r, nearest_first, route.row.row_epoch)
        self._stall_s = stall_s
        self._ended: CollectionEnded | None = ended
        self._needed = needed
        self._answers: dict[NodeId, Held] = {}
        self._decoded: Held | None = None  # the last
        self._bucket: Bucket | None = None
        self._is_asking = False
        self._mark = ZERO

    @property
    def is_over(self) -> bool:
        return self._ended is None

    def heard(self, node: NodeId, encoded: bytes, row_epoch: Epoch, mark: HybridTime = ZERO) -> None:
        """An owner holds this; b"" when nothing was ever written there, or, at or below `mark`, when it was
        deleted and forgotten."""
        if self._ended is None:
            return
        try:
            held = self._decode(encoded)
        except RingmillError as error:
            self.failed(node, error)
            return
        if self._tally.record_answer(node, row_epoch):
            self._answers[node] = held
            if mark > self._mark:  # noqa: PLR1730 - faster than max()
                self._mark = mark
        if self._digests:
            self._compare_digests(held)
        self._step()

    def heard_digest(self, node: NodeId, digest: bytes, row_epoch: Epoch, mark: HybridTime = ZERO) -> None:
        """An owner holds an object with this digest; `mark` as in `heard`."""
        if self._ended is None:
            return
        for held in self._answers.values():
            if held.digest == digest:
                self._take_as_told(node, held, row_epoch, mark)
                return
        if self._answers or self.teller is None:
            self._have_told(node)
        else:
            self._digests = self._digests or {}
            self._digests[node] = digest, row_epoch, mark

    def failed(self, node: NodeId, error: Exception) -> None:
        """An owner gives no answer."""
        if self._ended is not None:
            self._tally.record_failure(node, str(error) or type(error).__name__)
            self._tally.newer_epoch = max(self._tally.newer_epoch, WrongEpoch.epoch_of(error))
            if node == self.teller:
                self._replace_teller()
            self._step()

    def expire(self) -> None:
        """Those asked have been silent for long: somebody else is asked, or a lost level is given up."""
        self._bucket = None
        if self._tally.is_lost or self.deadline.left_s <= 0:
            self._fail()
        else:
            sometimes("a read replaces a silent owner")
            silent = [node for node in self._tally.outstanding if node not in (self._digests or ())]
            self._asker.silent(silent, self._patience_s())
            self._tally.record_stall()
            if self.teller in silent:
                self._replace_teller()
            self._step()

    def forget(self) -> None:
        """Nobody waits any more."""
        self._ended = None
        self._answers, self._decoded, self._digests = {}, None, None  # a silent owner may keep this for long
        self.message = b""
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None

    def _compare_digests(self, held: Held) -> None:
        """Somebody has told an object: those that hold the same have answered, others are to tell theirs."""
        told, self._digests = self._digests or {}, None
        for node, (digest, row_epoch, mark) in told.items():
            if digest == held.digest:
                self._take_as_told(node, held, row_epoch, mark)
            else:
                self._have_told(node)

    def _take_as_told(self, node: NodeId, held: Held, row_epoch: Epoch, mark: HybridTime) -> None:
        sometimes("a digest stands for an object")
        self.heard(node, held.encoded, row_epoch, mark)

    def _have_told(self, node: NodeId) -> None:
        sometimes("a digest differs, and its owner tells the object")
        if self._ended is not None:
            self.teller = self.teller or node
            self._asker.ask_whole(self, node)

    def _replace_teller(self) -> None:
        """Who was asked for its object fails or is silent: one that has told a digest is asked instead, else
        the next that is asked at all."""
        self.teller = None
        if self._digests:
            node = next(iter(self._digests))
            del self._digests[node]
            self._have_told(node)

    def _decode(self, encoded: bytes) -> Held:
        """Equal bytes are equal objects: they are decoded once."""
        known = self._decoded
        if known is None or known.encoded != encoded:
            known = self._decoded = self._asker.decode(self, encoded)
        return known

    def _step(self) -> None:
        """Something happened, or nothing yet."""
        if self._ended is None:
            return
        tally = self._tally
        if tally.is_met and (self._needed is None or self._covers_session()):
            self._end(Collected(self._answers))
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
        for held in self._answers.values():
            known = known.join(held.stored.context)
        return None if self._needed is None else self._needed.missing(known, self._mark)

    def ask_more(self) -> None:
        """Ask as many as it takes; the first ones, to begin with."""
        tally = self._tally
        self._is_asking = True  # an owner may answer at once
        while nodes := tally.next_to_ask():
            for node in nodes:
                self._asker.ask(self, node)
        self._is_asking = False
        if self._ended is None:
            return
        if tally.is_lost and not tally.outstanding:
            self._fail()
            return
        if self._bucket is not None:
            self._bucket.pop(self, None)
        self._bucket = self._asker.wait(self, self._patience_s())

    def _patience_s(self) -> float:
        """How long to wait before somebody else is asked, or a lost level is given up; to the end when
        nobody else is left to ask."""
        left_s = self.deadline.left_s
        if self._tally.has_unasked or self._tally.is_lost:
            return min(self._stall_s, self.deadline.allowed_s / 4, left_s)
        return left_s

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

    def _end(self, told: Collected | QuorumNotReached) -> None:
        ended = self._ended
        if ended is not None:
            self.forget()
            ended(told)


AskedTogether: TypeAlias = Together[Question, Collection]


def _short_of_session(
    missing: Dot, tally: ReadTally, reasons: Mapping[str, str], *, is_late: bool
) -> QuorumNotReached:
    """A read that would go back behind what its session has seen; `is_late` as in QuorumNotReached.of."""
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
