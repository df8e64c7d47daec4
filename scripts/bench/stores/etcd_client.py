"""A client of etcd's KV service over plain gRPC: two messages, encoded by hand, each node asked in turn.

etcd has no client for asyncio, and its stubs are not ours to ship, so this writes the few fields that a put
and a get need.  It does no more than that: a lower bound of what a client of etcd costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final

import grpc

__all__ = ["EtcdClient", "pairs_in", "put_request", "range_request", "scan_request", "value_in"]

PUT: Final = "/etcdserverpb.KV/Put"
RANGE: Final = "/etcdserverpb.KV/Range"
TIMEOUT_S: Final = 10.0

_KEY, _VALUE, _SERIALIZABLE = 0x0A, 0x12, 0x38  # tags of fields 1, 2 and 7 in a request
_RANGE_END, _LIMIT = 0x12, 0x18  # tags of fields 2 and 3 in a RangeRequest
_KVS, _KV_VALUE = 2, 5  # fields of RangeResponse and KeyValue


class EtcdClient:
    """One channel a node, each call on the next one."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        self._channels = [grpc.aio.insecure_channel(one, options=options) for one in endpoints]
        self._puts = itertools.cycle([channel.unary_unary(PUT) for channel in self._channels])
        self._ranges = itertools.cycle([channel.unary_unary(RANGE) for channel in self._channels])

    async def __aenter__(self) -> EtcdClient:
        for channel in self._channels:
            await channel.channel_ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    def store(self, asked: dict[str, Any]) -> _EtcdStore:
        """With r=1 gets are serializable, as one node answers them by itself; else linearizable."""
        return _EtcdStore(self._puts, self._ranges, is_serializable=asked.get("r") in (1, "one"))


class _EtcdStore:
    failures = (grpc.aio.AioRpcError,)

    def __init__(self, puts: Iterator[Any], ranges: Iterator[Any], *, is_serializable: bool) -> None:
        self._puts = puts
        self._ranges = ranges
        self._is_serializable = is_serializable

    async def put(self, key: bytes, value: bytes) -> None:
        await next(self._puts)(put_request(key, value), timeout=TIMEOUT_S)

    async def get(self, key: bytes) -> bytes | None:
        request = range_request(key, is_serializable=self._is_serializable)
        return value_in(await next(self._ranges)(request, timeout=TIMEOUT_S))

    async def modify(self, key: bytes, value: bytes) -> None:
        await self.get(key)
        await self.put(key, value)

    async def scan(self, key: bytes, most: int) -> int:
        """From a key on, among those with its hash tag."""
        request = scan_request(key, most, is_serializable=self._is_serializable)
        return pairs_in(await next(self._ranges)(request, timeout=TIMEOUT_S))


def put_request(key: bytes, value: bytes) -> bytes:
    """etcdserverpb.PutRequest."""
    return b"".join((bytes([_KEY]), _varint(len(key)), key, bytes([_VALUE]), _varint(len(value)), value))


def range_request(key: bytes, *, is_serializable: bool = False) -> bytes:
    """etcdserverpb.RangeRequest of one key."""
    request = bytes([_KEY]) + _varint(len(key)) + key
    return request + bytes([_SERIALIZABLE, 1]) if is_serializable else request


def scan_request(key: bytes, most: int, *, is_serializable: bool = False) -> bytes:
    """etcdserverpb.RangeRequest of `most` keys from one on that have its hash tag."""
    end = key[: key.index(b"}")] + b"~"  # the byte behind "}"
    limit = bytes([_RANGE_END]) + _varint(len(end)) + end + bytes([_LIMIT]) + _varint(most)
    request = bytes([_KEY]) + _varint(len(key)) + key + limit
    return request + bytes([_SERIALIZABLE, 1]) if is_serializable else request


def pairs_in(response: bytes) -> int:
    """How many pairs an etcdserverpb.RangeResponse has."""
    return sum(number == _KVS for number, _ in _fields(response))


def value_in(response: bytes) -> bytes | None:
    """The value of the first pair in an etcdserverpb.RangeResponse; None when there is no pair."""
    for number, pair in _fields(response):
        if number == _KVS and isinstance(pair, bytes):
            found = [value for number, value in _fields(pair) if number == _KV_VALUE]
            return found[0] if found and isinstance(found[0], bytes) else b""
    return None


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message that has numbers and bytes only."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        value, at = _number(message, at)
        if tag & 7 == 2:
            yield tag >> 3, message[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def _number(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
