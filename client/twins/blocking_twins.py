"""Makes blocking methods of async ones: a twin waits until the answer has come, in the caller's thread.

The methods keep their signatures and documentation, so that these have one source.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from ringmill.client.arguments import Seconds, checked_timeout_s

__all__ = ["TimedTwin", "Twin", "WaitingLoop", "blocking", "timed", "waiting_limit_s"]

GRACE_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")
Subject = TypeVar("Subject")
Subject_co = TypeVar("Subject_co", covariant=True)


class WaitingLoop(Protocol):
    """The loop of a blocking client."""

    def run(self, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """Wait for `work`; DeadlineExceeded after `limit_s`."""
        ...


class Twin(Protocol[Subject_co]):
    """A blocking object that wraps an async one."""

    @property
    def _subject(self) -> Subject_co: ...

    @property
    def _loop(self) -> WaitingLoop: ...


class TimedTwin(Twin[Subject_co], Protocol[Subject_co]):
    """A twin whose methods take a `timeout`, with its default."""

    @property
    def _timeout_s(self) -> float: ...


def blocking(
    method: Callable[Concatenate[Subject, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Twin[Subject], P], T]:
    """The blocking form of a method without a deadline."""

    @functools.wraps(method)
    def wait_for(self: Twin[Subject], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._subject, *args, **kwargs))

    return wait_for


def timed(
    method: Callable[Concatenate[Subject, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[TimedTwin[Subject], P], T]:
    """The blocking form of a method with a deadline: waits until shortly after the deadline."""

    @functools.wraps(method)
    def wait_for(self: TimedTwin[Subject], /, *args: P.args, **kwargs: P.kwargs) -> T:
        limit_s = waiting_limit_s(self._timeout_s, cast("Seconds | None", kwargs.get("timeout")))
        return self._loop.run(method(self._subject, *args, **kwargs), limit_s)

    return wait_for


def waiting_limit_s(default_s: float, timeout: Seconds | None) -> float:
    """How long to wait for a request, in seconds: longer than its deadline, as the request enforces that
    itself."""
    return (default_s if timeout is None else checked_timeout_s(timeout)) + GRACE_S
