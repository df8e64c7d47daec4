"""What comes over a socket, in whatever pieces, is what was sent, or is refused before it takes memory."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.wire.socket_layout import SocketParser, farewell, frame_length, greeting

LIMIT = 1000
TEXTS = {"ringmill-node": "n1", "ringmill-class": "data"}
HELLO = greeting(TEXTS, is_dialling=True)


def parser(*, is_dialled: bool = False) -> SocketParser:
    return SocketParser(is_dialled=is_dialled, max_frame_bytes=LIMIT)


def framed(*frames: bytes) -> bytes:
    return b"".join(frame_length(frame) + frame for frame in frames)


@given(st.lists(st.binary(max_size=LIMIT), max_size=8), st.lists(st.integers(1, 400), max_size=40))
def test_frames_come_out_whole_and_in_order_in_whatever_pieces_they_come(
    frames: list[bytes], pieces: list[int]
) -> None:
    heard, got, rest = parser(), [], HELLO + framed(*frames)
    for size in pieces:
        if rest[:size]:
            got += heard.feed(rest[:size])
        rest = rest[size:]
    if rest:
        got += heard.feed(rest)
    assert (got, heard.texts, heard.failure, heard.is_within) == (frames, TEXTS, None, False)


@given(st.binary(min_size=1, max_size=5000), st.booleans())
def test_no_bytes_whatever_make_more_of_it_than_a_refusal(rubbish: bytes, greeted: bool) -> None:
    heard = parser()
    if greeted:
        heard.feed(HELLO)
    for byte in range(0, len(rubbish), 97):
        heard.feed(rubbish[byte : byte + 97])
    assert heard.failure is None or isinstance(heard.failure, RingmillError)


@pytest.mark.parametrize("first", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("rubbish", [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x01\xc1"])
def test_an_invalid_length_is_refused_in_whatever_pieces_it_comes(first: int, rubbish: bytes) -> None:
    heard, rest = parser(), rubbish + bytes(8)
    heard.feed(HELLO)
    heard.feed(rest[:first])
    heard.feed(rest[first:])
    assert isinstance(heard.failure, ProtocolMismatch)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        bytes(64),
        b"RMFX",
        b"RMFR\x02\x01\x00\x00",
        b"RMFR\x01\x02\x00\x00",
        b"RMFR\x01\x01\xff\xff",
        b"RMFR\x01\x01\x00\x01\xc1",
        b"RMFR\x01\x01\x00\x01\x01",
        b"RMFR\x01\x01\x00\x03\x81\xa1a",
        greeting({"a": 1}, is_dialling=True),  # type: ignore[dict-item]
        greeting({"ringmill-node": "n2\nn1: the disk is gone"}, is_dialling=True),
        greeting({"ringmill-node": "né"}, is_dialling=True),
    ],
)
def test_what_is_not_a_greeting_is_refused(rubbish: bytes) -> None:
    heard = parser()
    assert heard.feed(rubbish) == []
    assert isinstance(heard.failure, ProtocolMismatch)
    assert heard.texts is None
    assert heard.feed(framed(b"late")) == []


def test_an_answering_side_does_not_take_its_own_greeting_for_an_answer() -> None:
    heard = parser(is_dialled=True)
    heard.feed(HELLO)
    assert isinstance(heard.failure, ProtocolMismatch)


@pytest.mark.parametrize("length", [LIMIT + 1, 2**31 - 1, 2**31 + 4097, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_while_nothing_of_it_has_come(length: int) -> None:
    heard = parser()
    assert heard.feed(HELLO + framed(b"one") + struct.pack(">I", length)) == [b"one"]
    assert isinstance(heard.failure, ProtocolMismatch)
    assert not heard.is_within


def test_a_refusal_comes_instead_of_a_greeting() -> None:
    heard = parser(is_dialled=True)
    said = farewell(Unavailable("n2 is stopping", hint="ask another node"))
    for byte in said:
        heard.feed(bytes([byte]))
    assert isinstance(heard.failure, Unavailable)
    assert (heard.failure.message, heard.failure.hint) == ("n2 is stopping", "ask another node")


def test_a_farewell_comes_after_the_last_frame() -> None:
    heard = parser(is_dialled=True)
    hello = greeting({"ringmill-node": "n2"}, is_dialling=False)
    assert heard.feed(hello + framed(b"answers") + farewell(ProtocolMismatch("no frame"))) == [b"answers"]
    assert isinstance(heard.failure, ProtocolMismatch)
    assert heard.failure.message == "no frame"


def test_a_farewell_that_is_not_an_error_is_a_mismatch() -> None:
    heard = parser(is_dialled=True)
    packed: bytes = msgpack.packb([1, 2])
    heard.feed(struct.pack(">I", len(packed) | 1 << 31) + packed)
    assert isinstance(heard.failure, ProtocolMismatch)


def test_a_farewell_of_any_size_is_cut_to_what_the_other_side_takes() -> None:
    heard = parser(is_dialled=True)
    heard.feed(farewell(Unavailable("long " * 5000)))
    assert isinstance(heard.failure, Unavailable)
