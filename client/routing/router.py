"""Sends one request to the right node, and again to another where the rules allow it.

client/routing/retries.py decides what may follow a failure, client/routing/candidates.py decides which node
comes next. This file acts on both, always within the caller's deadline. Rule W4: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from ringmill.client.lifetime import closed
from ringmill.client.routing.directory import STAGGER_S, Directory
from ringmill.client.routing.links import Method
from ringmill.client.routing.retries import (
    SILENCE_SHARE,
    Budget,
    Next,
    attempt_timeout_s,
    may_retry,
    next_step,
    pause_s,
)
from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable
from ringmill.cluster.ports import Entropy
from ringmill.cluster.sometimes import sometimes

__all__ = ["FailedAttempt", "Prepare", "Router", "Target"]

Answer = TypeVar("Answer", bound=Message)
Prepare = Callable[[int, int], Message]
"""Makes the message of one attempt from (epoch routed by, milliseconds left)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The key of a request, and its keyspace: all that routing needs to know."""

    keyspace: str
    key: bytes


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The first attempt of a request that was sent without `Router.ask`.

    `whole_s` is all the time that the request has, `until` when that ends on the loop's clock.
    """

    address: str
    error: RingmillError
    whole_s: float
    until: float


@dataclass(slots=True)
class _Progress:
    """The attempts of one request so far."""

    whole_s: float
    until: float
    tried: list[str] = field(default_factory=list)
    retries: int = 0

    @property
    def left_s(self) -> float:
        return self.until - asyncio.get_running_loop().time()


class Router:
    """Requests to a cluster: by key to a good coordinator, or to any node."""

    def __init__(self, directory: Directory, entropy: Entropy, timeout_s: float) -> None:
        self.directory = directory
        self.timeout_s = timeout_s
        self._entropy = entropy
        self._budget = Budget()

    async def ask(
        self,
        method: Method[Answer],
        prepare: Prepare,
        *,
        target: Target | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send the request to the best node, then to others as far as the rules and the deadline allow.

        Raises the last error; its `detail["tried"]` lists the addresses asked, in order.
        """
        self.directory.lifetime.check()
        whole_s = self.timeout_s if timeout_s is None else timeout_s
        progress = _Progress(whole_s, asyncio.get_running_loop().time() + whole_s)
        self._budget.earn()
        return await self._attempts(method, prepare, target, progress)

    def begin(self, target: Target) -> str:
        """Count one request, and name the node that its caller sends it to without `ask`.

        Should that fail, `go_on` tells the rest of the story.
        """
        self._budget.earn()
        return self._choose(target, ())

    async def go_on(
        self, method: Method[Answer], prepare: Prepare, target: Target, failed: FailedAttempt
    ) -> Answer:
        """The same as `ask` for a request whose first attempt has been made and has failed."""
        progress = _Progress(failed.whole_s, failed.until, [failed.address])
        self._note_failure(failed.address, failed.error)
        await self._settle(failed.error, method, target, progress)
        return await self._attempts(method, prepare, target, progress)

    async def _attempts(
        self, method: Method[Answer], prepare: Prepare, target: Target | None, progress: _Progress
    ) -> Answer:
        while True:
            address = self._choose(target, progress.tried)
            progress.tried.append(address)
            try:
                return await self._attempt(address, method, prepare, progress)
            except RingmillError as error:
                await self._settle(error, method, target, progress)

    async def _settle(
        self, error: RingmillError, method: Method[Answer], target: Target | None, progress: _Progress
    ) -> None:
        """Make ready for another attempt.  Raises what the caller is told when there is none."""
        if self.directory.lifetime.is_closed and isinstance(error, Unavailable):
            raise closed(error.outcome if method.is_write else "failed") from error
        error.detail["tried"] = list(progress.tried)
        if not await self._may_go_on(error, method, target, progress):
            raise error

    async def _attempt(
        self, address: str, method: Method[Answer], prepare: Prepare, progress: _Progress
    ) -> Answer:
        timeout_s = attempt_timeout_s(
            progress.left_s, progress.whole_s, is_write=method.is_write, retries=progress.retries
        )
        if timeout_s <= 0:
            raise DeadlineExceeded("the deadline passed before anything was sent", outcome="failed")
        try:
            if method.is_write:
                await self.directory.prove(address, min(timeout_s, self._patience_s(address, progress)))
                timeout_s = progress.left_s
            message = prepare(self.directory.epoch, max(1, int(timeout_s * 1000)))
            answer = await self.directory.link(address).call(method, message, timeout_s)
        except RingmillError as error:
            self._note_failure(address, error)
            raise
        self.directory.clear(address)
        return answer

    def _note_failure(self, address: str, error: RingmillError) -> None:
        error.detail.setdefault("address", address)
        if isinstance(error, Unavailable | DeadlineExceeded):
            self.directory.blame(address)

    @staticmethod
    def _patience_s(address: str, progress: _Progress) -> float:
        """How long an address may take to show that it answers: short the first time it is asked, longer the
        second time."""
        share_s = progress.whole_s * SILENCE_SHARE
        return min(STAGGER_S, share_s) if progress.tried.count(address) == 1 else share_s

    async def _may_go_on(
        self, error: RingmillError, method: Method[Answer], target: Target | None, progress: _Progress
    ) -> bool:
        """Pause or refresh the topology before another attempt.  False when no other attempt is allowed."""
        step = next_step(error, is_write=method.is_write)
        if step is Next.GIVE_UP or progress.left_s <= 0:
            return False
        if step is Next.REFRESH:
            await self.directory.refresh(progress.tried[-1], progress.left_s)
        if step is Next.RETRY:
            progress.retries += 1
            pause = pause_s(progress.retries, self._entropy.uniform("client.retry"), error)
            if not may_retry(progress.retries) or pause >= progress.left_s or not self._budget.spend():
                return False
            sometimes("a client retries")
            await asyncio.sleep(pause)
            return True
        sometimes("a client turns to another node")
        return len(progress.tried) < 2 * len(self._candidates(target))

    def _choose(self, target: Target | None, tried: Sequence[str]) -> str:
        """The best address among those asked least often."""
        return min(self._candidates(target), key=tried.count)

    def _candidates(self, target: Target | None) -> list[str]:
        if target is None:
            return self.directory.addresses()
        return self.directory.addresses_for(target.keyspace, target.key)
