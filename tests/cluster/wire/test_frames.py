"""Frames carry what was put in, and refuse everything else before they allocate for it."""

import struct
import tracemalloc
from pathlib import Path

import google_crc32c
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import Conflict, InvalidArgument, ProtocolMismatch, to_wire
from ringmill.cluster.traces.trace_context import TRACE_BYTES
from ringmill.cluster.wire.error_bytes import decode_error, encode_error
from ringmill.cluster.wire.error_status import status_details
from ringmill.cluster.wire.frames import (
    OPERATION_OVERHEAD_BYTES,
    decode_answers,
    decode_loaded,
    decode_operations,
    decode_traced,
    encode_answers,
    encode_operations,
)

counts = st.integers(0, 2**63 - 1)
operations = st.tuples(counts, st.text(max_size=20), counts, st.integers(0, 4), st.binary(max_size=200))
answers = (
    st.tuples(counts, st.binary(max_size=200))
    | st.tuples(counts, st.just(b""), st.binary(max_size=99))
    | st.tuples(counts, st.just(b""), st.binary(max_size=99), counts)
)


stamps = st.none() | st.integers(0, 2**63 - 1)


def sealed(body: bytes, *, version: int = 1, kind: int = 1) -> bytes:
    return struct.pack(">BBI", version, kind, google_crc32c.value(body)) + body


@given(st.lists(operations, max_size=8), stamps)
def test_operations_come_out_as_they_went_in(
    sent: list[tuple[int, str, int, int, bytes]], stamp: int | None
) -> None:
    assert decode_operations(encode_operations(sent, stamp)) == (sent, stamp)


@given(
    st.lists(operations, max_size=8),
    st.integers(0, 2**63 - 1),
    st.dictionaries(counts, st.binary(min_size=TRACE_BYTES, max_size=TRACE_BYTES), min_size=1, max_size=8),
)
def test_traces_come_beside_the_operations(
    sent: list[tuple[int, str, int, int, bytes]], stamp: int, traces: dict[int, bytes]
) -> None:
    frame = encode_operations(sent, stamp, list(traces.items()))
    assert decode_traced(frame) == (sent, stamp, traces)
    assert decode_operations(frame) == (sent, stamp)


@given(st.lists(answers, max_size=8), stamps)
def test_answers_come_out_as_they_went_in(sent: list[tuple[int, bytes]], stamp: int | None) -> None:
    assert decode_answers(encode_answers(sent, stamp)) == (sent, stamp)


@given(st.lists(answers, max_size=8), st.integers(0, 2**63 - 1), st.none() | st.integers(0, 255))
def test_the_load_of_a_node_comes_beside_its_answers(
    sent: list[tuple[int, bytes]], stamp: int, load: int | None
) -> None:
    frame = encode_answers(sent, stamp, load)
    assert decode_loaded(frame) == (sent, stamp, load)
    assert decode_answers(frame) == (sent, stamp)


@pytest.mark.parametrize("load", [-1, 256, True, b"1", [], None])
def test_a_load_that_is_none_is_refused(load: object) -> None:
    with pytest.raises(ProtocolMismatch):
        decode_answers(sealed(msgpack.packb([5, [], load]), version=2, kind=2))


def test_an_operation_costs_no_more_than_its_stated_overhead() -> None:
    empty = len(encode_operations([]))
    largest = (2**63, "m" * 64, 2**63, 4, b"x" * 70_000)
    assert len(encode_operations([largest])) - empty - 70_000 <= OPERATION_OVERHEAD_BYTES


@given(st.lists(operations, min_size=1, max_size=3), st.data())
def test_any_flipped_bit_is_noticed(
    sent: list[tuple[int, str, int, int, bytes]], data: st.DataObject
) -> None:
    frame = bytearray(encode_operations(sent))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(ProtocolMismatch):
        decode_operations(bytes(frame))


@given(st.binary(max_size=300))
def test_rubbish_is_refused_as_a_mismatch(rubbish: bytes) -> None:
    with pytest.raises(ProtocolMismatch):
        decode_operations(rubbish)


@given(st.binary(max_size=300), st.sampled_from([1, 2]))
def test_rubbish_under_a_good_checksum_is_refused_too(rubbish: bytes, version: int) -> None:
    try:
        decoded = decode_operations(sealed(rubbish, version=version))
    except ProtocolMismatch:
        return
    assert decode_operations(encode_operations(*decoded)) == decoded


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x01", "shorter than its header"),
        (sealed(b"\x90", version=9), "frame version 9"),
        (sealed(b"\x90", kind=2), "frame kind 2"),
        (sealed(b"\x90")[:-1] + b"\x91", "checksum"),
        (sealed(b"\xdd\xff\xff\xff\xff"), "not msgpack"),
        (sealed(msgpack.packb({"a": 1})), "not msgpack: a map"),
        (sealed(msgpack.packb(7)), "not an array"),
        (sealed(msgpack.packb([[1, "kv.put", 5, 1]])), "invalid operation"),
        (sealed(msgpack.packb([[1, "kv.put", 5, 1, "text"]])), "invalid operation"),
        (sealed(msgpack.packb([]), version=2), "not a stamp and an array"),
        (sealed(msgpack.packb([-1, []]), version=2), "not a stamp and an array"),
        (sealed(msgpack.packb([7, [[1]]]), version=2), "invalid operation"),
        (sealed(msgpack.packb([7, [], [[1]]]), version=2), "invalid trace"),
        (sealed(msgpack.packb([7, [], [[1, b"t" * 24]]]), version=2), "invalid trace"),
        (sealed(msgpack.packb([7, [], [["1", b"t" * 25]]]), version=2), "invalid trace"),
        (sealed(msgpack.packb([7, [], {}]), version=2), "not msgpack: a map"),
        (sealed(msgpack.packb([7, [], b""]), version=2), "not a stamp and an array"),
        (sealed(msgpack.packb([7, [], [], []]), version=2), "not a stamp and an array"),
    ],
)
def test_a_refusal_says_what_was_wrong(frame: bytes, reason: str) -> None:
    with pytest.raises(ProtocolMismatch, match=reason):
        decode_operations(frame)


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(ProtocolMismatch, match="101 bytes is over the limit of 100"):
        decode_operations(b"\x00" * 101, max_bytes=100)


def test_an_error_survives_the_crossing() -> None:
    error = Conflict("expected 1, is 2", detail={"current": b"2"}, hint="read again", outcome="failed")
    received = decode_error(encode_error(error))
    assert isinstance(received, Conflict)
    assert (received.message, received.detail, received.hint, received.outcome) == (
        "expected 1, is 2",
        {"current": b"2"},
        "read again",
        "failed",
    )


def test_an_error_too_long_for_metadata_loses_its_largest_detail_first() -> None:
    error = Conflict("expected 1", detail={"current": b"x" * 100_000, "key": "a"})
    packed = encode_error(error, max_bytes=4096)
    assert len(packed) <= 4096
    assert decode_error(packed).detail == {"current": "(100005 bytes left out)", "key": "a"}


def test_an_error_with_a_path_that_is_not_utf8_crosses() -> None:
    path = "/tmp/caf\udce9"
    error = InvalidArgument(f"output {path} exists", detail={path: [path], "file": Path(path)}, hint=path)
    received = decode_error(encode_error(error))
    shown = "/tmp/caf\\udce9"
    assert isinstance(received, InvalidArgument)
    assert (received.message, received.hint) == (f"output {shown} exists", shown)
    assert received.detail == {shown: [shown], "file": shown}
    assert msgpack.packb(to_wire(InvalidArgument(path, detail={"files": [path]}, hint=path)))
    assert status_details(error) == f"output {shown} exists ({shown})"


class Unspeakable:
    def __str__(self) -> str:
        raise OSError("it has gone")


def endless() -> dict[str, object]:
    detail: dict[str, object] = {}
    detail["self"] = detail
    return detail


@pytest.mark.parametrize("detail", [{"value": Unspeakable()}, endless()])
def test_an_error_whose_details_are_not_msgpack_crosses_without_them(detail: dict[str, object]) -> None:
    received = decode_error(encode_error(Conflict("expected 1", detail=detail, hint="read again")))
    assert isinstance(received, Conflict)
    assert (received.message, received.hint) == ("expected 1", "read again")
    assert list(received.detail) == ["detail"]


@given(st.text(max_size=3000), st.dictionaries(st.text(max_size=50), st.binary(max_size=900), max_size=9))
def test_an_error_always_fits_its_limit(message: str, detail: dict[str, bytes]) -> None:
    packed = encode_error(Conflict(message, detail=detail, hint=message), max_bytes=2048)
    assert len(packed) <= 2048
    assert isinstance(decode_error(packed), Conflict)


@pytest.mark.parametrize("one", [b"\x80", b"\x81\x01\x01", b"\xd4\x05x", b"\xc7\x00\x05"])
def test_a_frame_takes_no_more_memory_than_its_arrays(one: bytes) -> None:
    """An empty map of one byte took 64 in memory."""
    count = (1 << 20) // len(one)
    body = b"\x92\x00\xdd" + count.to_bytes(4, "big") + one * count
    frame = struct.pack(">BBI", 2, 1, google_crc32c.value(body)) + body
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolMismatch, match="not msgpack"):
            decode_operations(frame)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
