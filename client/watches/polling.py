"""Polls that nodes hold, one after the other, and what a watch does when one fails.

A poll goes to the node that was asked least since the last answer.  What passes is tried again after a pause
that grows, for as long as the watch is patient.  Rule N3: docs/protocol/watches.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

from ringmill.client.routing.links import Method
from ringmill.client.routing.retries import FIRST_PAUSE_S, LONGEST_PAUSE_S
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.sometimes import sometimes

__all__ = ["PATIENCE_S", "POLL_S", "Polling"]

POLL_S: Final = 10.0
"""How long a node holds a poll.  One that is stopped by SIGSTOP holds up a change for as long."""
PATIENCE_S: Final = 60.0

_ANSWER_S: Final = 1.0
_PASSING: Final = (Unavailable, DeadlineExceeded, QuorumNotReached, Overloaded, WrongEpoch, CorruptData)

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=Message)


class Polling:
    """The polls of one watch."""

    def __init__(self, router: Router, patience_s: float) -> None:
        self._router = router  # a client is closed when nobody holds it any more
        self._directory = router.directory
        self._entropy = router.entropy
        self._patience_s = patience_s
        self._tried: list[str] = []  # since a poll was answered last
        self._failures = 0
        self._failing_since: float | None = None
        self.found = ""
        """The node that answered last after another one had not."""

    async def poll(
        self, addresses: Sequence[str], method: Method[AnswerT], request: Callable[[int], Message]
    ) -> AnswerT:
        """The answer of one node to the request for an epoch.  Raises what it raised; another may answer."""
        directory = self._directory
        directory.lifetime.check()  # a closed client goes on nowhere
        address = min(addresses, key=self._tried.count)
        try:
            message = request(directory.asked_epoch)
            answer = await directory.link(address).call(method, message, POLL_S + _ANSWER_S)
        except RingmillError as error:
            error.detail.setdefault("address", address)
            self._tried.append(address)
            if isinstance(error, WrongEpoch):
                await directory.refresh(address, POLL_S)
            elif isinstance(error, Unavailable | DeadlineExceeded) and not error.was_told:
                directory.blame(address)
            raise
        if self._tried:
            sometimes("a watch goes on at another node")
            self.found = address
        directory.clear(address)
        found = getattr(answer, "found", answer)  # what a key's watch has found tells its epoch itself
        directory.hear_epoch(getattr(found, "epoch", 0), address)
        self._tried.clear()
        return answer

    async def insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it, and again after errors that pass, until the patience is over."""
        while True:
            try:
                done = await work()
            except RingmillError as error:
                if not isinstance(error, _PASSING):
                    raise
                await self._note_failure(error)
            else:
                self._failures, self._failing_since = 0, None
                return done

    async def attempt(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do it once; None after an error that passes."""
        try:
            return await work()
        except _PASSING:
            return None

    async def _note_failure(self, error: RingmillError) -> None:
        """Wait a moment.  Raises the error once the patience is over."""
        self._directory.lifetime.check()
        now = asyncio.get_running_loop().time()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since >= self._patience_s:
            raise error
        self._failures += 1
        bound = min(FIRST_PAUSE_S * float(2 ** min(self._failures, 10)), LONGEST_PAUSE_S)
        await asyncio.sleep(bound * self._entropy.uniform("client.watch"))
