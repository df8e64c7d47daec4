"""The clients of other stores: the bytes that their protocols ask for, and answers in any pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.etcd_client import pairs_in, put_request, range_request, scan_request, value_in
from stores.redis_client import RedisClient, RedisFailed


def test_a_put_of_etcd_is_key_and_value() -> None:
    assert put_request(b"k", b"vv") == b"\x0a\x01k\x12\x02vv"
    assert put_request(b"k", b"v" * 300)[3:6] == b"\x12\xac\x02", "lengths above 127 take two bytes"


def test_a_get_of_etcd_is_linearizable_unless_told() -> None:
    assert range_request(b"k") == b"\x0a\x01k"
    assert range_request(b"k", is_serializable=True) == b"\x0a\x01k\x38\x01"


def test_a_scan_of_etcd_ends_with_its_hash_tag_or_its_limit() -> None:
    assert scan_request(b"k{1}2", 300) == b"\x0a\x05k{1}2\x12\x04k{1~\x18\xac\x02"


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=2**63))
def test_the_value_in_an_answer_of_etcd_is_found(value: bytes, revision: int) -> None:
    """RangeResponse {header {revision = 3}, kvs {key = 1, mod_revision = 3, value = 5}, count = 4}."""
    header = b"\x18" + varint(revision)
    pair = b"\x0a\x01k\x18" + varint(revision) + b"\x2a" + varint(len(value)) + value
    message = b"\x0a" + varint(len(header)) + header + b"\x12" + varint(len(pair)) + pair + b"\x20\x01"
    assert value_in(message) == value and pairs_in(message) == 1
    empty = b"\x0a" + varint(len(header)) + header
    assert value_in(empty) is None and pairs_in(empty) == 0


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


@asynccontextmanager
async def redis(answers: list[bytes]) -> AsyncIterator[RedisClient]:
    """A client of somebody who answers each read with the next piece."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for piece in answers:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, RedisClient(f"127.0.0.1:{port}") as client:
        yield client


async def test_answers_of_redis_are_matched_in_order_whatever_pieces_they_come_in() -> None:
    async with redis([b"$5\r\nhe", b"llo\r", b"\n$-1\r\n+O", b"K\r\n"]) as client:
        found = await asyncio.gather(client.get(b"a"), client.get(b"b"), client.put(b"c", b"v"))
    assert list(found) == [b"hello", None, None]


async def test_a_refusal_of_redis_is_a_failed_operation() -> None:
    async with redis([b"-OOM no memory\r\n"]) as client:
        with pytest.raises(RedisFailed, match="no memory"):
            await client.put(b"a", b"v")
