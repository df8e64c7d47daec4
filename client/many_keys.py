"""Many keys in one call: the input is checked whole, then sent in windows, and each item has its outcome.

A batch is not atomic: each item is a request of its own, with its own deadline and its own retries, by the
same rules as a single one.  client/routing/window.py sends them; docs/guide.md, "Many keys at once", says
what a user can rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar, cast

from google.protobuf.message import Message

from ringmill.client.arguments import Key, Value, checked_key, checked_value
from ringmill.client.kv_requests import read_message, write_message
from ringmill.client.operations import OperationNames
from ringmill.client.routing.links import DELETE, GET, PUT
from ringmill.client.routing.router import Router, Target
from ringmill.client.routing.tracing import batch_span
from ringmill.client.routing.window import OnAnswer, Window, WindowRequest
from ringmill.client.values import Item, Receipt, item_of, receipt_from
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions
from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse, WriteReceipt

__all__ = [
    "Pairs",
    "KeyspaceRequests",
    "checked_keys",
    "checked_pairs",
    "in_steps",
    "raise_first",
    "read_many",
    "write_many",
]

T = TypeVar("T")
Pairs: TypeAlias = (
    Mapping[str, Value] | Mapping[bytes, Value] | Mapping[Key, Value] | Iterable[tuple[Key, Value]]
)
"""Keys with values.  Type checkers take no Mapping[str, …] for a Mapping[Key, …], so each is named."""

STEP: Final = 256


def raise_first(outcomes: Iterable[T | RingmillError]) -> list[T]:
    """The outcomes of a batch when none of them is an error; otherwise raises the first error.

    The error is raised as it is in the list; its `detail["index"]` is the position of its item.
    """
    fine: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, RingmillError):
            raise outcome
        fine.append(outcome)
    return fine


def checked_keys(keys: Iterable[Key]) -> Iterator[bytes]:
    """Each key in bytes.  Raises InvalidArgument, which names the index."""
    for index, key in enumerate(_items("keys", keys, "a list of keys")):
        try:
            yield checked_key(cast("Key", key))
        except InvalidArgument as error:
            raise _at("keys", index, error) from None


def checked_pairs(pairs: Pairs) -> Iterator[tuple[bytes, bytes]]:
    """Each key and value in bytes.  Raises InvalidArgument, which names the index."""
    given = pairs.items() if isinstance(pairs, Mapping) else pairs
    for index, pair in enumerate(_items("pairs", given, "a mapping, or a list of (key, value)")):
        try:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InvalidArgument(f"it is of type {type(pair).__name__}, and must be (key, value)")
            yield checked_key(pair[0]), checked_value(pair[1])
        except InvalidArgument as error:
            raise _at("pairs", index, error) from None


def _items(name: str, given: object, taken: str) -> Iterable[object]:
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | memoryview):
        return given
    raise InvalidArgument(f"{name} is of type {type(given).__name__}; it must be {taken}")


def _at(name: str, index: int, error: InvalidArgument) -> InvalidArgument:
    detail = {**error.detail, "index": index}
    return InvalidArgument(f"{name}[{index}]: {error.message}", detail=detail, hint=error.hint)


async def in_steps(checked: Iterator[T]) -> list[T]:
    """All of them; a long series lets other work of the event loop run in between."""
    taken: list[T] = []
    for each in checked:
        taken.append(each)
        if len(taken) % STEP == 0:
            await asyncio.sleep(0)
    return taken


class KeyspaceRequests:
    """Makes the requests of one keyspace for a window."""

    def __init__(self, keyspace: str, router: Router, operations: OperationNames) -> None:
        self.keyspace = keyspace
        self.router = router
        self._operations = operations

    def get(self, key: bytes, options: ReadOptions, on_answer: OnAnswer) -> WindowRequest:
        return WindowRequest(
            GET,
            Target(self.keyspace, key),
            read_message(self.keyspace, key, options),
            on_answer,
            size_bytes=len(key),
            whole_s=options.timeout_s or self.router.timeout_s,
        )

    def write(
        self, key: bytes, value: bytes | None, options: WriteOptions, on_answer: OnAnswer
    ) -> WindowRequest:
        """A put or, with None as the value, a delete."""
        return WindowRequest(
            DELETE if value is None else PUT,
            Target(self.keyspace, key),
            write_message(self.keyspace, key, value, options, self._operations),
            on_answer,
            size_bytes=len(key) + len(value or b""),
            whole_s=options.timeout_s or self.router.timeout_s,
        )

    def refused(self, error: RingmillError) -> RingmillError:
        """What a write ended with."""
        self._operations.retreat(error)
        return error

    def receipt(self, answer: Message) -> Receipt:
        """What a write's answer says."""
        message = cast("WriteReceipt", answer)
        self._operations.observe(message.hybrid_time)
        return receipt_from(message)

    def response(self, answer: Message) -> GetResponse:
        """What a read's answer says."""
        message = cast("GetResponse", answer)
        self._operations.observe(message.hybrid_time)
        return message


async def read_many(
    requests: KeyspaceRequests, keys: Sequence[bytes], options: ReadOptions
) -> list[Item | RingmillError | None]:
    """An outcome for each key, in their order."""
    requests.router.directory.lifetime.check()
    outcomes: list[Item | RingmillError | None] = [None] * len(keys)

    def note(index: int, outcome: Message | RingmillError) -> None:
        if isinstance(outcome, RingmillError):
            outcomes[index] = _placed(outcome, index)
        else:
            outcomes[index] = item_of(requests.response(outcome))

    made = (requests.get(key, options, partial(note, index)) for index, key in enumerate(keys))
    with batch_span(requests.router.tracing, "kv.mget", requests.keyspace, outcomes):
        await _work_off(requests.router, made)
    return outcomes


async def write_many(
    requests: KeyspaceRequests, pairs: Sequence[tuple[bytes, bytes]], options: WriteOptions
) -> list[Receipt | RingmillError]:
    """An outcome for each pair, in their order."""
    requests.router.directory.lifetime.check()
    outcomes: list[Receipt | RingmillError | None] = [None] * len(pairs)

    def note(index: int, outcome: Message | RingmillError) -> None:
        if isinstance(outcome, RingmillError):
            outcomes[index] = _placed(requests.refused(outcome), index)
        else:
            outcomes[index] = requests.receipt(outcome)

    made = (
        requests.write(key, value, options, partial(note, index)) for index, (key, value) in enumerate(pairs)
    )
    with batch_span(requests.router.tracing, "kv.mput", requests.keyspace, outcomes):
        await _work_off(requests.router, made)
    return cast("list[Receipt | RingmillError]", outcomes)


async def _work_off(router: Router, made: Iterator[WindowRequest]) -> None:
    window = Window(router, lambda: next(made, None))
    try:
        await window.drain()
    finally:
        await window.close()


def _placed(error: RingmillError, index: int) -> RingmillError:
    error.detail["index"] = index
    return error
