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

__all__ = ["Prepare", "Router", "Target"]

Answer = TypeVar("Answer", bound=Message)
Prepare = Callable[[int, int], Message]
"""Makes the message of one attempt from (epoch routed by, milliseconds left)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The key of a request, and its keyspace: all that routing needs to know."""

    keyspace: str
    key: bytes


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
        while True:
            address = self._choose(target, progress.tried)
            progress.tried.append(address)
            try:
                return await self._attempt(address, method, prepare, progress)
            except RingmillError as error:
                if self.directory.lifetime.is_closed and isinstance(error, Unavailable):
                    raise closed(error.outcome if method.is_write else "failed") from error
                error.detail["tried"] = list(progress.tried)
                if not await self._may_go_on(error, method, target, progress):
                    raise

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
            error.detail.setdefault("address", address)
            if isinstance(error, Unavailable | DeadlineExceeded):
                self.directory.blame(address)
            raise
        self.directory.clear(address)
        return answer

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
