"""Writes that a caller names: sent again with the same Idempotency-Key, a write is done once.

The gateway keeps the name of the operation, and then its answer, for a while.  A repeat within it gets that
answer, or waits for the one that is under way.  A write whose outcome is unknown keeps its operation id: the
repeat is a later attempt of it, and nodes ask first whether it was done (rule V4: docs/protocol/versions.md).
The name of a write that certainly was not done is forgotten: what only fails pushes no other name out.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.operations import OperationName
from ringmill.cluster.errors import InvalidArgument

__all__ = ["IdempotencyMemory", "checked_idempotency_key"]

KEPT_S: Final = 600.0
MOST_KEPT: Final = 10_000
_KEY: Final = re.compile(r"[ -~]{1,200}")

Answer = web.Response | HttpRefusal


def checked_idempotency_key(given: str) -> str:
    """Raises InvalidArgument for one that is empty, too long or not printable."""
    if not _KEY.fullmatch(given):
        raise InvalidArgument("Idempotency-Key must be 1 to 200 printable characters of ASCII")
    return given


@dataclass(slots=True)
class _Named:
    """A write: `fingerprint` is of all that was asked; `answer` is None until it is certain."""

    fingerprint: bytes
    operation: OperationName
    since: float
    caller: str
    under_way: asyncio.Task[Answer] | None = None
    answer: tuple[int, bytes, dict[str, str]] | None = None


class IdempotencyMemory:
    """What became of named writes, of all callers of one gateway."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._named: OrderedDict[tuple[str, str], _Named] = OrderedDict()
        self._of_callers: dict[str, OrderedDict[tuple[str, str], None]] = {}

    async def once(
        self,
        name: tuple[str, str],
        caller: str,
        fingerprint: bytes,
        operation: Callable[[], OperationName],
        do: Callable[[OperationName], Awaitable[web.Response]],
        begun: Callable[[asyncio.Task[Any]], None],
    ) -> web.Response:
        """The answer of `do`, or that of an earlier one of the same name.

        `name` is the token and the key, `fingerprint` is of all that was asked, its method and path too.
        When names are too many, the `caller` who has most loses its oldest.  `do` goes on when its caller
        leaves; `begun` gets its task.  Raises HttpRefusal 422 when the name was that of another request; what
        `do` raises.
        """
        now = asyncio.get_running_loop().time()
        self._forget(now)
        found = self._named.get(name)
        if found is None:
            found = self._keep(name, _Named(fingerprint, operation(), now, caller))
        elif found.fingerprint != fingerprint:
            raise HttpRefusal(
                422, "IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was that of another request",
                hint="a new write needs a new key",
            )  # fmt: skip
        if found.answer is not None:
            status, body, headers = found.answer
            replayed = {**headers, "Idempotency-Replayed": "true"}
            return web.Response(status=status, body=body, headers=replayed)
        if found.under_way is None:
            found.under_way = asyncio.create_task(self._do(name, found, do), name="named-write")
            begun(found.under_way)
        answer = await asyncio.shield(found.under_way)
        if isinstance(answer, HttpRefusal):
            raise answer
        if not isinstance(answer.body, bytes):
            return answer
        headers = {each: answer.headers[each] for each in ("Content-Type", "ETag") if each in answer.headers}
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _do(
        self,
        name: tuple[str, str],
        named: _Named,
        do: Callable[[OperationName], Awaitable[web.Response]],
    ) -> Answer:
        """Do it, and keep the answer if it is certain."""
        operation = named.operation
        later = operation._replace(attempt=operation.attempt + 1)
        try:
            answer = await do(operation)
        except HttpRefusal as refusal:
            if refusal.outcome != "failed":
                named.operation = later
            elif not operation.attempt:
                self._drop(name)
            return refusal
        except BaseException:
            named.operation = later  # it may have been done
            raise
        finally:
            named.under_way = None
        if isinstance(answer.body, bytes):
            kept = {each: answer.headers[each] for each in ("Content-Type", "ETag") if each in answer.headers}
            named.answer = answer.status, answer.body, kept
        return answer

    def _keep(self, name: tuple[str, str], named: _Named) -> _Named:
        if len(self._named) >= self._most:
            self._make_room()
        self._of_callers.setdefault(named.caller, OrderedDict())[name] = None
        self._named[name] = named
        return named

    def _make_room(self) -> None:
        """Forget the oldest name that is not under way, of the caller who has most."""
        most = max(self._of_callers.values(), key=len)
        oldest = next((name for name in most if self._named[name].under_way is None), None)
        if oldest is not None:
            self._drop(oldest)

    def _forget(self, now: float) -> None:
        """Forget writes that are too old; none that is under way."""
        while self._named:
            name, oldest = next(iter(self._named.items()))
            if now - oldest.since <= KEPT_S or oldest.under_way is not None:
                return
            self._drop(name)

    def _drop(self, name: tuple[str, str]) -> None:
        caller = self._named.pop(name).caller
        of_caller = self._of_callers[caller]
        del of_caller[name]
        if not of_caller:
            del self._of_callers[caller]
