"""Who seems alive: SWIM with Lifeguard's refinements, as a state machine.

Pure.  Time and randomness come in as arguments; what comes out is what to send and what changed.  The
loop that carries the messages is node/membership/liveness.py.

Each interval the machine probes one member, in shuffled order.  A probe that fails is tried again through
up to three helpers at once; when they fail too, the member is *suspected* and has a while to raise its
number (refute), a while that independent accusers shorten; then it is *down*.  What is learned rides on
probes and answers, and while there is news some more messages go out.  Down members are probed on, one an
interval, as only the topology removes a member.

Lifeguard's part: a suspect is told so by whoever talks to it; a node that is unwell itself (late loop,
silent helpers, suspected by others) probes more slowly and waits longer; a suspicion heard of is checked by
an own probe next, so that confirmations are first-hand.

A node that leaves service claims of itself that it is down, so nobody has to find out (rule T10).

A node itself has the last word on its start and number (rule T13): what a third one says of a start that
nobody has noted is not believed, and what the node's own answer shows to be made up is dropped.

The caller's duty: every Ping ends in exactly one of `answered` and `failed`; `tick` is called at `wake_at`,
which any event may bring nearer.

See: docs/architecture.md, "Who seems alive".  SWIM: Das, Gupta, Motivala 2002.  Lifeguard: Dadgar,
Phillips, Currey 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.claims import FURTHEST_AHEAD, NEVER_SEEN, Claim, MemberState, Message, Rank
from ringmill.cluster.membership.gossip import Gossip
from ringmill.cluster.membership.health import LocalHealth
from ringmill.cluster.membership.profile import Profile
from ringmill.cluster.membership.rotation import Rotation
from ringmill.cluster.sometimes import sometimes

__all__ = ["Changed", "Detector", "Instruction", "Ping"]

UP: Final = MemberState.UP
SUSPECT: Final = MemberState.SUSPECT
DOWN: Final = MemberState.DOWN


@dataclass(frozen=True, slots=True)
class Ping:
    """Send `message` to `target`, through the helper `via` if named, and report the end under `id`."""

    id: int
    target: NodeId
    via: NodeId | None
    timeout_s: float
    message: Message


@dataclass(frozen=True, slots=True)
class Changed:
    """The opinion of a member's reachability is another one now."""

    node: NodeId
    state: MemberState


Instruction: TypeAlias = Ping | Changed


@dataclass(slots=True)
class _Record:
    """What is held of one member; a suspect also has a clock and those who accused it."""

    claim: Claim
    suspected_at: float = 0.0
    accusers: list[NodeId] = field(default_factory=list)


@dataclass(slots=True)
class _Round:
    """One member being probed: first directly, then through `waiting` helpers."""

    target: NodeId
    waiting: int = 0
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A ping on its way.  Without a round its failure means nothing."""

    target: NodeId
    via: NodeId | None
    due: float
    round: _Round | None
    held: Rank  # what was known of the target


class Detector:
    """One node's opinion of all members.  `random` gives floats in [0, 1); `now` is monotonic, in seconds."""

    def __init__(
        self,
        me: NodeId,
        disk: DiskId,
        start: Start,
        profile: Profile,
        *,
        random: Callable[[], float],
        now: float,
        noted: Callable[[DiskId], Start | None] = lambda _: None,
    ) -> None:
        """`noted`: the newest start of a disk that its node has told this one of (rule I3)."""
        self.epoch = 0  # of the newest topology this node knows; its messages carry it
        self._me = me
        self._disk = disk
        self._rank = Rank(start, 0)
        self._is_leaving = False
        self._profile = profile
        self._random = random
        self._noted = noted
        self._records: dict[NodeId, _Record] = {}
        self._rotation = Rotation(random)
        self._outreach = Rotation(random)
        self._gossip = Gossip()
        self._health = LocalHealth(profile.health_ceiling)
        self._ailed_at = -math.inf  # until when this node was last known to do nothing
        self._pings: dict[int, _Sent] = {}
        self._next_ping = 0
        self._round_at = now
        self._full_at = now + profile.full_exchange_s
        self._gossip_at = now

    # What is known.

    def state(self, node: NodeId) -> MemberState:
        """A node that is not a member is down; this node itself is up."""
        if node == self._me:
            return UP
        record = self._records.get(node)
        return record.claim.state if record else DOWN

    @property
    def health(self) -> LocalHealth:
        return self._health

    @property
    def wake_at(self) -> float:
        """When `tick` is due."""
        news = [self._gossip_at] if self._gossip else []
        return min([self._round_at, *news, *(self._deadline(r) for r in self._suspects())])

    # Events in, instructions out.

    def set_members(self, seats: Mapping[NodeId, DiskId], now: float) -> list[Instruction]:
        """The topology's members, in its order, and the disk of each.

        Each new one is told at once that this node is here; one with a new disk is new.
        """
        named = {node: disk for node, disk in seats.items() if node != self._me}
        for node in [node for node, held in self._records.items() if named.get(node) != held.claim.disk]:
            del self._records[node]
            self._gossip.forget(node)
        fresh = [node for node in named if node not in self._records]
        for node in fresh:
            self._records[node] = _Record(Claim(node, named[node], UP, NEVER_SEEN))
        self._rotation.set_members(list(named))
        self._outreach.set_members(list(named))
        return [self._ping(node, now, round=None, is_full=True) for node in fresh]

    def tick(self, now: float, *, late_s: float = 0.0) -> list[Instruction]:
        """Time has passed: give up on suspects whose time is over, begin the next probe, spread news.

        `late_s` is how much later than asked for the loop woke up: the node's own illness.
        """
        self._bear_lateness(now, late_s)
        instructions: list[Instruction] = []
        for record in self._suspects():
            if now >= self._deadline(record):
                sometimes("a suspect is declared down")
                condemned = replace(record.claim, state=DOWN, accuser=self._me)
                instructions += self._learn(condemned, now)
        if now >= self._round_at:
            self._round_at = now + self._profile.interval_s * self._health.stretch
            instructions += self._begin_round(now)
        if self._gossip and now >= self._gossip_at:
            self._gossip_at = now + self._profile.gossip_s
            instructions += self._spread_news(now)
        return instructions

    def broke(self, node: NodeId, now: float) -> None:
        """A connection to a member broke, perhaps as its process has ended: it is probed at once."""
        if self.state(node) is UP and node in self._records:
            sometimes("a member is probed at once as its connection broke")
            self._rotation.hurry(node)
            self._round_at = now

    def leave(self, now: float) -> list[Instruction]:
        """This node is about to stop: every member that is not down is told that it is down (rule T10)."""
        self._is_leaving = True
        sometimes("a node says that it leaves service")
        self._spread(self._own_claim, now)
        there = [node for node in self._records if self.state(node) is not DOWN]
        return [self._ping(node, now, round=None, is_full=False) for node in there]

    def stood_still(self, now: float, stood_s: float) -> None:
        """This node's loop stood still until now: what it thinks of others is worth less for a while."""
        self._ail(now - stood_s, now)

    def heard(
        self, message: Message, now: float, *, link: NodeId | None = None
    ) -> tuple[Message, list[Instruction]]:
        """A probe arrived on the link of a node, by default of the one that speaks.  The message returned is
        the answer."""
        instructions = self._learn_all(message, now, is_relayed=link not in (None, message.speaker))
        return self._message(message.speaker, is_full=message.is_full), instructions

    def answered(self, ping: int, message: Message, now: float) -> list[Instruction]:
        """The target of a ping answered; an answer by somebody else, or from another disk, is a failure."""
        target, own = self._pings[ping].target, message.claims[0]
        held = self._records.get(target)
        if held is None or (own.node, own.disk) != (target, held.claim.disk):
            return self.failed(ping, now, is_silent=False)
        sent = self._pings.pop(ping)
        if sent.round is not None:
            sent.round.is_over = True
            if sent.via is None:
                self._health.better()
        if sent.via is not None:
            return self._learn_all(message, now, is_relayed=True)
        denied = self._hear_denial(held, own, sent.held, now)
        return [*denied, *self._learn_all(message, now, is_relayed=False)]

    def failed(self, ping: int, now: float, *, is_silent: bool) -> list[Instruction]:
        """No answer came: `is_silent` when time ran out, not when somebody said that there will be none.

        A refused connection is a failure at once, and so is a helper's word that it met one.
        """
        sent = self._pings.pop(ping)
        if sent.round is None or sent.round.is_over or sent.target not in self._records:
            return []
        if now > sent.due + self._profile.timeout_s:
            sent.round.is_over = True  # this node itself stood still: nothing is proven
            return []
        if sent.via is None:
            return self._ask_helpers(sent.round, now)
        if is_silent:
            self._health.worse()
        sent.round.waiting -= 1
        return self._accuse(sent.round, now) if sent.round.waiting == 0 else []

    # Probing.

    def _begin_round(self, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        is_full = now >= self._full_at
        target = self._rotation.next(lambda node: self.state(node) is not DOWN)
        if target is not None:
            instructions.append(self._ping(target, now, round=_Round(target), is_full=is_full))
            if is_full:
                self._full_at = now + self._profile.full_exchange_s
        lost = self._outreach.next(lambda node: self.state(node) is DOWN)
        if lost is not None:
            instructions.append(self._ping(lost, now, round=None, is_full=False))
        return instructions

    def _spread_news(self, now: float) -> list[Instruction]:
        listeners = self._some(self._profile.fanout, lambda node: self.state(node) is not DOWN)
        return [self._ping(node, now, round=None, is_full=False) for node in listeners]

    def _some(self, count: int, is_wanted: Callable[[NodeId], bool]) -> list[NodeId]:
        """Up to `count` members, drawn at random."""
        able = [node for node in self._records if is_wanted(node)]
        return [able.pop(int(self._random() * len(able))) for _ in range(min(count, len(able)))]

    def _ask_helpers(self, round: _Round, now: float) -> list[Instruction]:
        helpers = self._some(
            self._profile.indirect, lambda node: node != round.target and self.state(node) is UP
        )
        if not helpers:
            return self._accuse(round, now)
        round.waiting = len(helpers)
        return [self._ping(round.target, now, round=round, is_full=False, via=helper) for helper in helpers]

    def _ping(
        self, target: NodeId, now: float, *, round: _Round | None, is_full: bool, via: NodeId | None = None
    ) -> Ping:
        timeout_s = self._profile.timeout_s * self._health.stretch
        self._next_ping += 1
        held = self._records[target].claim.rank
        self._pings[self._next_ping] = _Sent(target, via, now + timeout_s, round, held)
        return Ping(self._next_ping, target, via, timeout_s, self._message(target, is_full=is_full))

    def _message(self, to: NodeId, *, is_full: bool) -> Message:
        """This node's own claim first; then, if any, the ill opinion of whom it speaks to; then news."""
        claims = [self._own_claim]
        if is_full:
            held = [record.claim for record in self._records.values()]
            claims += [claim for claim in held if claim.beats(replace(claim, state=UP, rank=NEVER_SEEN))]
        else:
            if to in self._records and self.state(to) is not UP:
                claims.append(self._records[to].claim)
            claims += self._gossip.take(
                self._profile.claims_per_message, self._profile.retransmissions(self._size)
            )
        return Message(self.epoch, tuple(claims), is_full)

    @property
    def _own_claim(self) -> Claim:
        if self._is_leaving:
            return Claim(self._me, self._disk, DOWN, self._rank, accuser=self._me)
        return Claim(self._me, self._disk, UP, self._rank)

    # Learning.

    def _learn_all(self, message: Message, now: float, *, is_relayed: bool) -> list[Instruction]:
        own, *others = message.claims
        instructions = self._learn(own, now, is_own_word=not is_relayed)
        return [*instructions, *(each for claim in others for each in self._learn(claim, now))]

    def _learn(self, claim: Claim, now: float, *, is_own_word: bool = False) -> list[Instruction]:
        if claim.node == self._me:
            self._hear_of_me(claim, now)
            return []
        record = self._records.get(claim.node)
        if record is None or claim.disk != record.claim.disk:
            return []
        if claim.beats(record.claim):
            if not is_own_word and self._is_made_up(claim, record.claim):
                sometimes("a claim of a start that nobody has noted is not believed")
                return []
            return self._believe(record, claim, now)
        if claim.state is SUSPECT and claim.rank == record.claim.rank and record.claim.state is SUSPECT:
            self._confirm(record, claim, now)
        elif record.claim.beats(claim):
            self._spread(record.claim, now)  # the sender should learn the newer claim
        return []

    def _is_made_up(self, claim: Claim, held: Claim) -> bool:
        """Whether only the node itself may say this (rule T13): nobody else has reason to.

        Of a member that was not heard of since this node started, a start is believed: it may be dead, and
        if it is not it denies what is wrong.
        """
        start, number = claim.rank
        if start == held.rank.start:
            return number > held.rank.number + FURTHEST_AHEAD
        if number > FURTHEST_AHEAD:
            return True
        if held.rank.start == NEVER_SEEN.start:
            return False
        noted = self._noted(claim.disk)
        return noted is None or start > noted

    def _hear_denial(self, record: _Record, own: Claim, asked: Rank, now: float) -> list[Instruction]:
        """A member has answered this node itself, and is of an earlier start or number than this node had
        when it asked.  It knows best: nobody starts, or counts, before he ends."""
        if own.rank >= asked or record.claim.rank.start != asked.start:
            return []
        sometimes("a member denies what was said of it")
        self._gossip.forget(own.node)
        return self._believe(record, own, now)

    def _believe(self, record: _Record, claim: Claim, now: float) -> list[Instruction]:
        before, record.claim, record.accusers = record.claim.state, claim, []
        self._spread(claim, now)
        if claim.state is SUSPECT:
            record.suspected_at, record.accusers = now, [claim.accuser]
            if claim.accuser != self._me:
                self._rotation.hurry(claim.node)
        return [Changed(claim.node, claim.state)] if claim.state is not before else []

    def _confirm(self, record: _Record, claim: Claim, now: float) -> None:
        if claim.accuser not in record.accusers and len(record.accusers) <= self._profile.confirmations:
            record.accusers.append(claim.accuser)
            self._spread(claim, now)

    def _accuse(self, round: _Round, now: float) -> list[Instruction]:
        """Suspect the target, and tell it at once, as only it can refute."""
        round.is_over = True
        held = self._records[round.target].claim
        instructions = self._learn(replace(held, state=SUSPECT, accuser=self._me), now)
        return [*instructions, self._ping(held.node, now, round=None, is_full=False)]

    def _hear_of_me(self, claim: Claim, now: float) -> None:
        """Refute what is said of this start.  That there is a later one is said by the members that noted it
        (rule I3)."""
        if claim.disk != self._disk or claim.rank.start > self._rank.start:
            return
        if claim.rank.number > self._rank.number + FURTHEST_AHEAD:
            return  # nobody believes it, and to count on from there would bring the end of numbers near
        if claim.state is not UP and claim.rank >= self._rank and not self._is_leaving:
            self._refute(claim, now)

    def _refute(self, claim: Claim, now: float) -> None:
        sometimes("a suspect refutes")
        self._rank = Rank(self._rank.start, claim.rank.number + 1)
        self._spread(self._own_claim, now)
        self._health.worse()

    def _spread(self, claim: Claim, now: float) -> None:
        if not self._gossip:
            self._gossip_at = max(self._gossip_at, now)
        self._gossip.add(claim)

    # Time.

    def _suspects(self) -> list[_Record]:
        return [record for record in self._records.values() if record.claim.state is SUSPECT]

    def _deadline(self, record: _Record) -> float:
        confirmations = len(record.accusers) - 1
        return record.suspected_at + self._profile.suspicion_s(self._size, confirmations)

    @property
    def _size(self) -> int:
        return len(self._records) + 1

    def _ail(self, since: float, now: float) -> None:
        """This node did nothing for that long.  A late tick and a stall are often one and the same: who tells
        of it second adds nothing."""
        if since >= self._ailed_at:
            self._health.worse()
        self._ailed_at = now

    def _bear_lateness(self, now: float, late_s: float) -> None:
        """A loop that ran late is this node's own illness: no suspect loses time to refute by it."""
        if late_s > self._profile.timeout_s / 2:
            self._ail(now - late_s, now)
            for record in self._suspects():
                record.suspected_at += late_s
