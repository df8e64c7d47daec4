"""Many keys in one request, each with an outcome of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import web

from ringmill.client.arguments import checked_key, checked_value
from ringmill.client.gateway.http.bodies import json_answer, json_object
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal, http_refusal_of, problem_document
from ringmill.client.kv import time_of_read
from ringmill.client.kv_requests import put_options, read_options
from ringmill.client.pipeline import AsyncPipeline
from ringmill.client.values import Item, Receipt, json_bytes
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, RingmillError
from ringmill.cluster.limits import MAX_TIMEOUT_S

__all__ = ["BATCH_BYTES", "BATCH_OPERATIONS", "member_bytes", "run_batch"]

BATCH_OPERATIONS: Final = 1000
BATCH_BYTES: Final = 8 << 20
_MEMBERS: Final = {
    "get": frozenset({"op", "key", "key_b64"}),
    "put": frozenset({"op", "key", "key_b64", "value", "value_b64", "ttl", "context"}),
    "delete": frozenset({"op", "key", "key_b64", "context"}),
}
READ_BYTES: Final = 4 << 20
"""The most bytes of values in one answer."""
AT_FIRST: Final = 8
"""Operations under way, so that few values are read for which there is no room.  Each that has brought little
lets one more in."""
AT_ONCE: Final = 128
SHORT: Final = 32 << 10
LEAST_S: Final = 0.01
"""What has less time left is not begun."""


class _Wanted(NamedTuple):
    """One operation, and what queues it."""

    key: bytes
    queue: Callable[[AsyncPipeline, float], asyncio.Future[Any]]
    """It takes the seconds that it has, too."""
    is_read: bool = False


class _Time:
    """The time of a batch, the wait for its turn included, and of each operation in it."""

    def __init__(self, call: HttpCall) -> None:
        given = call.query.get("timeout")
        self.each_s = time_of_read(call.space, given)
        self.whole_s = MAX_TIMEOUT_S if given is None else self.each_s
        self._now = asyncio.get_running_loop().time
        self._ends_at = self._now() + self.whole_s

    def left_s(self) -> float:
        """For an operation that begins now.  Raises DeadlineExceeded."""
        left_s = self._ends_at - self._now()
        if left_s < LEAST_S:
            raise DeadlineExceeded("the time of the batch was over before this one began", outcome="failed")
        return min(left_s, self.each_s)

    async def outcome_of(self, wanted: _Wanted, queued: asyncio.Future[Any]) -> Any:
        """The outcome of an operation that may wait behind others, and has its own time from then on.

        Raises what it raises, and DeadlineExceeded when the time of the batch is over.
        """
        try:
            async with asyncio.timeout_at(self._ends_at + LEAST_S):
                return await queued
        except RingmillError:
            raise  # DeadlineExceeded is a TimeoutError too, and says more than this batch knows
        except TimeoutError:
            raise DeadlineExceeded(
                "the time of the batch was over before this one ended",
                outcome="failed" if wanted.is_read else "unknown",
            ) from None


async def run_batch(call: HttpCall) -> web.StreamResponse:
    """The body is {"operations": [...]}: each has an `op`, get, put or delete, and a `key` or `key_b64`.

    A put has a `value` or `value_b64`, and may have a `ttl` and a `context`; a delete may have a `context`.

    It is not atomic: each operation succeeds or fails on its own, and those of different keys run at the same
    time.  Writes of one key are done in their order.  The answer has an outcome for each, in their order:
    its `status`, and the document of the read, the receipt, or the `error`.  When one of the operations is
    not valid, 400 names it, and none is done.  Reads whose values have no room within 4 MiB have the outcome
    413; ask for them again.  `timeout` is for the whole batch; without one it has 60 seconds, and each
    operation the gateway's.  Those that have not begun by then have the outcome 504.
    """
    document = await json_object(call, BATCH_BYTES, frozenset({"operations"}))
    operations = document.get("operations")
    if not isinstance(operations, list) or not 1 <= len(operations) <= BATCH_OPERATIONS:
        raise InvalidArgument(f"operations must be a list of 1 to {BATCH_OPERATIONS} operations")
    wanted: list[_Wanted] = []
    for at, operation in enumerate(operations):
        try:
            wanted.append(_operation(operation, call))
        except InvalidArgument as error:
            raise InvalidArgument(f"operations[{at}]: {error.message}", hint=error.hint) from error
    time = _Time(call)
    async with call.slot.batch_turn(time.whole_s):
        return json_answer({"outcomes": await _run_operations(call, wanted, time)})


async def _run_operations(call: HttpCall, wanted: list[_Wanted], time: _Time) -> list[dict[str, Any]]:
    with call.writing(*(each.key for each in wanted)):
        pipeline = call.space.pipeline()
        try:
            answer = _Answer(pipeline, time)
            found = await asyncio.gather(*map(answer.take, wanted), return_exceptions=True)
        finally:
            await pipeline.aclose()
    pairs = zip(wanted, found, strict=True)
    return [_outcome(each.key, outcome, has_token=call.has_token) for each, outcome in pairs]


def _operation(given: object, call: HttpCall) -> _Wanted:
    """Raises InvalidArgument."""
    if not isinstance(given, dict):
        raise InvalidArgument("it is not a JSON object")
    op = given.get("op")
    if not isinstance(op, str) or op not in _MEMBERS:
        raise InvalidArgument(f"op is {str(op)[:40]!r}, need one of {', '.join(_MEMBERS)}")
    unknown = sorted(set(given) - _MEMBERS[op])
    if unknown:
        raise InvalidArgument(f"a {op} has no member {unknown[0][:40]!r}")
    key = checked_key(member_bytes(given, "key"))
    if op == "get":
        reading = call.options("r", "timeout")
        read_options(**reading)
        return _Wanted(
            key, lambda pipeline, left_s: pipeline.get(key, **reading | {"timeout": left_s}), is_read=True
        )
    settings: dict[str, Any] = call.options("w", "durability", "timeout")
    settings |= {name: given[name] for name in ("ttl", "context") if given.get(name) is not None}
    put_options(**settings)
    if op == "delete":
        return _Wanted(key, lambda pipeline, left_s: pipeline.delete(key, **settings | {"timeout": left_s}))
    value = checked_value(member_bytes(given, "value"))
    return _Wanted(key, lambda pipeline, left_s: pipeline.put(key, value, **settings | {"timeout": left_s}))


def member_bytes(document: Mapping[str, Any], name: str) -> bytes:
    """Bytes of a JSON object: text under their name, or base64 under NAME_b64.  Raises InvalidArgument."""
    text, coded = document.get(name), document.get(f"{name}_b64")
    if isinstance(text, str) and coded is None:
        return text.encode("utf-8", "surrogatepass")
    if isinstance(coded, str) and text is None:
        try:
            return base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument(f"{name}_b64 is not base64: {error}") from error
    raise InvalidArgument(f"it needs one of {name!r} and '{name}_b64', as a text")


class _Answer:
    """The answer to a batch: it has operations done, a few at a time, and keeps what was read as far as there
    is room."""

    def __init__(self, pipeline: AsyncPipeline, time: _Time) -> None:
        self._pipeline = pipeline
        self._time = time
        self._under_way = asyncio.Semaphore(AT_FIRST)  # it lets them in in their order
        self._more = AT_ONCE - AT_FIRST
        self._bytes = 0
        self._is_full = False

    async def take(self, wanted: _Wanted) -> object:
        """The outcome, or the refusal in its place.  Raises RingmillError."""
        outcome, size = None, 0
        async with self._under_way:
            try:
                if not (wanted.is_read and self._is_full):
                    queued = wanted.queue(self._pipeline, self._time.left_s())
                    outcome = await self._time.outcome_of(wanted, queued)
                    size = sum(map(len, outcome.siblings)) if isinstance(outcome, Item) else 0
            finally:
                if size <= SHORT and self._more:
                    self._more -= 1
                    self._under_way.release()
        if outcome is None or (wanted.is_read and self._bytes and self._bytes + size > READ_BYTES):
            self._is_full = True
            return HttpRefusal(
                413, "TOO_LARGE", f"the values that a batch reads have {READ_BYTES} bytes at most",
                hint="ask for this key again, with fewer others", detail={"limit": READ_BYTES},
            )  # fmt: skip
        self._bytes += size
        return outcome


def _outcome(key: bytes, outcome: object, *, has_token: bool) -> dict[str, Any]:
    named: dict[str, Any] = {**json_bytes("key", key)}
    if isinstance(outcome, RingmillError | HttpRefusal):
        if isinstance(outcome, RingmillError):
            outcome = http_refusal_of(outcome, has_token=has_token)
        problem = problem_document(outcome)
        return {**named, "status": problem["status"], "error": problem}
    if isinstance(outcome, Item):
        return {**named, "status": 300 if outcome.conflict else 200, **outcome.to_dict()}
    if isinstance(outcome, Receipt):
        return {**named, "status": 200, **outcome.to_dict()}
    assert isinstance(outcome, BaseException)
    raise outcome
