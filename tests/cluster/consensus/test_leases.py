"""A lease on a register that answers, refuses, or does what it was asked and says nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.consensus.lease import decode_lease
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import (
    ClientClosed,
    Conflict,
    DeadlineExceeded,
    DiskFull,
    InvalidArgument,
    PermissionDenied,
    QuorumNotReached,
    RingmillError,
    Unavailable,
)
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import VirtualLoop


@dataclass(frozen=True)
class Seen:
    value: bytes | None
    version: int


class Register:
    def __init__(self) -> None:
        self.seen = Seen(None, 0)
        self.is_silent = False
        self.swallows = 0  # answers that are lost after the change was made
        self.told_after_s = 0.0

    async def get(self, *, timeout: float) -> Seen:
        await self._answer(timeout)
        return self.seen

    async def set(self, value: bytes, version: int, *, timeout: float) -> int:
        await self._answer(timeout)
        if version != self.seen.version:
            raise Conflict("no", detail={"current": self.seen.value, "version": self.seen.version})
        self.seen = Seen(value, version + 1)
        await asyncio.sleep(self.told_after_s)
        if self.swallows:
            self.swallows -= 1
            raise DeadlineExceeded("the answer was lost", outcome="unknown")
        return version + 1

    async def _answer(self, timeout_s: float) -> None:
        if self.is_silent:
            await asyncio.sleep(timeout_s)
            raise Unavailable("nobody answers", outcome="unknown")
        await asyncio.sleep(0.01)


class World:
    def __init__(self) -> None:
        self.loop = VirtualLoop(stream(1, "schedule"))
        self.register = Register()

    def lease(self, duration_s: float = 6.0, former_term: int = 0) -> AsyncLease:
        return AsyncLease(
            "lease",
            self.register,
            owner="test",
            duration_s=duration_s,
            clock=SimulatedClock(self.loop),
            entropy=OsEntropy(),
            former_term=former_term,
        )

    @property
    def now(self) -> float:
        return self.loop.time()


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_renewed_for_as_long_as_it_is_held_and_free_afterwards(world: World) -> None:
    async def story() -> None:
        async with world.lease() as lease:
            for _ in range(300):
                await asyncio.sleep(0.1)
                assert lease.is_held
                assert 2.0 < lease.left_s <= 4.2, "renewed every third of 6 s, for 0.7 of them"
            assert lease.check() == 1
            assert decode_lease(world.register.seen.value).renewal >= 14
        assert not lease.is_held and lease.left_s == 0
        with pytest.raises(Unavailable, match="is not held any more"):
            lease.check()
        begun = world.now
        async with world.lease() as following:
            assert following.term == 2
            assert world.now - begun < 0.1

    world.loop.run_until_complete(story())


def test_one_that_was_left_is_taken_after_all_of_its_time_and_no_earlier(world: World) -> None:
    async def story() -> None:
        left = world.lease()
        await left.acquire()
        left.abandon()
        begun = world.now
        with pytest.raises(DeadlineExceeded, match="was not free within 2 s"):
            await world.lease().acquire(2.0)
        async with world.lease() as lease:
            assert lease.term == 2
            assert 6.0 <= world.now - begun < 9.0

    world.loop.run_until_complete(story())


def test_a_holder_that_nobody_answers_gives_up_in_time(world: World) -> None:
    async def story() -> None:
        async with world.lease() as lease:
            await asyncio.sleep(1.0)
            world.register.is_silent = True
            begun = world.now
            await lease.lost.wait()
            assert world.now - begun <= 0.7 * 6.0
            assert not lease.is_held
            world.register.is_silent = False

    world.loop.run_until_complete(story())


@pytest.mark.parametrize("swallows", [1, 2, 3])
def test_what_was_done_without_an_answer_is_found_and_kept(world: World, swallows: int) -> None:
    async def story() -> None:
        world.register.swallows = swallows
        async with world.lease() as lease:
            await asyncio.sleep(1.0)
            world.register.swallows = swallows  # of renewals, now
            for _ in range(200):
                await asyncio.sleep(0.1)
                assert lease.is_held
            assert lease.term == 1

    world.loop.run_until_complete(story())


def test_a_cancellation_while_it_is_released_is_not_lost(world: World) -> None:
    """A node's loop that was told to end, and went on, keeps the node from stopping."""

    async def story() -> None:
        ended_for_turns = []
        for turns in range(1, 7):
            lease = world.lease()
            await lease.acquire()
            releasing = asyncio.ensure_future(lease.release())
            for _ in range(turns):
                await asyncio.sleep(0)
            is_over = releasing.done()
            releasing.cancel()
            await asyncio.wait([releasing])
            ended_for_turns.append(is_over or releasing.cancelled())
        assert ended_for_turns == [True] * 6

    world.loop.run_until_complete(story())


def test_a_holder_that_was_replaced_learns_it_by_its_next_renewal(world: World) -> None:
    async def story() -> None:
        async with world.lease() as lease:
            seen = world.register.seen
            world.register.seen = Seen(
                b'{"holder":"other","term":9,"renewal":0,"duration_ms":6000}', seen.version + 1
            )
            await lease.lost.wait()
            assert world.now < 2.5
        assert decode_lease(world.register.seen.value).holder == "other", "it releases only its own"

    world.loop.run_until_complete(story())


def test_after_a_loss_the_terms_that_only_others_know_of_are_left_out_and_no_others(world: World) -> None:
    async def story() -> list[int]:
        terms = []
        for former in (0, 1, 3, 4):  # the third one knows that the register has lost a term, or some
            lease = world.lease(former_term=former)
            terms.append(await lease.acquire())
            await lease.release()
        return terms

    first, second, third, fourth = world.loop.run_until_complete(story())
    assert (first, second, fourth) == (1, 2, third + 1)
    assert third > 3 + 10**6


def test_a_register_that_was_set_to_something_else_is_lost_and_left_alone(world: World) -> None:
    async def story() -> None:
        async with world.lease() as lease:
            world.register.seen = Seen(b"42", world.register.seen.version + 1)
            await lease.lost.wait()
            assert world.now < 2.5
        assert world.register.seen.value == b"42"

    world.loop.run_until_complete(story())
    assert world.loop.unhandled() == []


def test_a_register_with_something_else_is_left_alone(world: World) -> None:
    async def story() -> None:
        world.register.seen = Seen(b"42", 1)
        with pytest.raises(InvalidArgument, match="is not a lease"):
            await world.lease().acquire()
        assert world.register.seen == Seen(b"42", 1)

    world.loop.run_until_complete(story())


def test_nobody_waits_for_a_register_that_never_answers(world: World) -> None:
    async def story() -> None:
        world.register.is_silent = True
        with pytest.raises(Unavailable):
            await world.lease().acquire()
        assert world.now < 13.0

    world.loop.run_until_complete(story())


def test_it_is_free_at_once_when_it_is_released_while_a_renewal_is_under_way(world: World) -> None:
    async def story() -> None:
        lease = world.lease()
        await lease.acquire()
        world.register.told_after_s = 0.5
        while decode_lease(world.register.seen.value).renewal == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await lease.release()
        assert decode_lease(world.register.seen.value).is_free
        begun = world.now
        async with world.lease() as following:
            assert following.term == 2
            assert world.now - begun < 1.0

    world.loop.run_until_complete(story())


def test_a_release_leaves_alone_what_another_holder_has_taken(world: World) -> None:
    async def story() -> None:
        lease = world.lease()
        await lease.acquire()
        taken = Seen(b'{"holder":"other","term":2,"renewal":0,"duration_ms":6000}', 7)
        world.register.seen = taken
        await lease.release()
        assert world.register.seen == taken

    world.loop.run_until_complete(story())


@pytest.mark.parametrize(
    ("refusal", "at_most_s"), [(PermissionDenied("a token to read"), 0.1), (DiskFull("of a majority"), 7.0)]
)
def test_whoever_waits_is_told_why_a_lease_cannot_be_taken_that_can_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch, refusal: RingmillError, at_most_s: float
) -> None:
    async def refuse(value: bytes, version: int, *, timeout: float) -> int:
        await asyncio.sleep(0.01)
        raise refusal

    async def story() -> None:
        monkeypatch.setattr(world.register, "set", refuse)
        with pytest.raises(type(refusal)):
            await world.lease().acquire(60.0)
        assert world.now < at_most_s

    world.loop.run_until_complete(story())


def test_whoever_waits_gives_up_when_nobody_answers_and_not_when_others_are_faster(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes have answered all the time, until one is away for a moment."""
    register, told = world.register, list[float]()

    async def get(*, timeout: float) -> Seen:
        await asyncio.sleep(0.01)
        if world.now > 20.0 and not told:
            told.append(world.now)
            raise Unavailable("away for a moment", outcome="failed")
        return register.seen

    async def lose(value: bytes, version: int, *, timeout: float) -> int:
        if not told:
            raise Conflict("no", detail={"current": None, "version": version + 1})
        return await Register.set(register, value, version, timeout=timeout)

    async def story() -> None:
        monkeypatch.setattr(register, "get", get)
        monkeypatch.setattr(register, "set", lose)
        async with world.lease() as lease:
            assert lease.term == 1 and told

    world.loop.run_until_complete(story())


@pytest.mark.parametrize(
    ("failure", "timeout_s", "at_most_s"),
    [
        (ClientClosed("this client is closed"), None, 0.1),
        (ClientClosed("this client is closed"), 3.0, 0.1),
        (QuorumNotReached("1 of 2 owners", outcome="failed"), 2.0, 2.1),
        (Unavailable("nobody answers", outcome="failed"), 0.0, 0.1),
    ],
)
def test_whoever_waits_is_not_told_that_it_is_not_free_when_nobody_has_let_it_be_read(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    failure: RingmillError,
    timeout_s: float | None,
    at_most_s: float,
) -> None:
    async def fail(*, timeout: float) -> Seen:
        await asyncio.sleep(0.01)
        raise failure

    async def story() -> None:
        monkeypatch.setattr(world.register, "get", fail)
        with pytest.raises(RingmillError) as raised:
            await world.lease().acquire(timeout_s)
        assert raised.value is failure and world.now <= at_most_s

    world.loop.run_until_complete(story())


def test_whoever_waits_for_a_while_waits_no_longer_for_nodes_that_are_silent(world: World) -> None:
    async def story() -> None:
        world.register.is_silent = True
        with pytest.raises(Unavailable, match="nobody answers"):
            await world.lease(60.0).acquire(timedelta(seconds=1))
        assert world.now < 3.0

    world.loop.run_until_complete(story())


def test_a_release_waits_no_longer_than_the_lease_was_held(world: World) -> None:
    async def story() -> None:
        lease = world.lease(60.0)
        await lease.acquire()
        await asyncio.sleep(15.0)
        world.register.is_silent = True
        begun = world.now
        await lease.release()
        assert world.now - begun < 42.0 - 15.0 + 1.0

    world.loop.run_until_complete(story())


@pytest.mark.parametrize("wrong", ["1", True, -1, float("nan"), float("inf"), timedelta(days=-1)])
def test_an_invalid_time_to_wait_is_refused(world: World, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout_s is"):
        world.loop.run_until_complete(world.lease().acquire(wrong))
    assert world.register.seen == Seen(None, 0)


def test_a_claim_is_for_one_use(world: World) -> None:
    """Two that share one, as threads share a lock, would both hold the lease, with one term."""

    async def story() -> None:
        lease = world.lease()
        assert await lease.acquire() == 1
        with pytest.raises(InvalidArgument, match="it is for one use"):
            await lease.acquire()
        assert lease.is_held
        await lease.release()
        with pytest.raises(InvalidArgument, match="it is for one use"):
            await lease.acquire()
        waiting = world.lease()
        both = await asyncio.gather(waiting.acquire(), waiting.acquire(), return_exceptions=True)
        assert list(map(type, both)) == [int, InvalidArgument]
        await waiting.release()

    world.loop.run_until_complete(story())


def test_a_claim_that_got_nothing_may_be_tried_again(world: World) -> None:
    async def story() -> None:
        waiting = world.lease()
        async with world.lease():
            with pytest.raises(DeadlineExceeded):
                await waiting.acquire(0)
        assert await waiting.acquire(0) == 2
        await waiting.release()

    world.loop.run_until_complete(story())
