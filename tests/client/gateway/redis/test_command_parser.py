"""Commands of Redis's protocol come out the same however their bytes are cut, and bad bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.protocol.command_parser import (
    MAX_DROPPED_BYTES,
    CommandParser,
    ForeignProtocol,
    ProtocolFault,
    TooLargeCommand,
)
from ringmill.client.gateway.redis.protocol.inline_words import words_of
from ringmill.cluster.limits import MAX_VALUE_BYTES

COMMANDS = st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), max_size=6)


def as_arrays(commands: list[list[bytes]]) -> bytes:
    return b"".join(
        b"*%d\r\n" % len(one) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in one)
        for one in commands
    )


def taken(parser: CommandParser) -> list[list[bytes]]:
    found = []
    while (command := parser.next_command()) is not None:
        found.append(command)
    return found


@given(COMMANDS, st.data())
def test_any_cut_of_the_bytes_gives_the_same_commands(
    commands: list[list[bytes]], data: st.DataObject
) -> None:
    whole, parser, found = as_arrays(commands), CommandParser(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        parser.feed(whole[:size])
        whole = whole[size:]
        found += taken(parser)
    assert found == commands
    assert not parser.is_amid_command


def test_arguments_that_are_held_count_more_than_their_bytes() -> None:
    parser = CommandParser()
    parser.feed(b"*1001\r\n" + b"$1\r\na\r\n" * 1000)
    assert taken(parser) == []
    assert parser.held_bytes >= 1000 * 65


def test_half_a_command_is_noticed() -> None:
    parser = CommandParser()
    parser.feed(b"*2\r\n$3\r\nGET\r\n$1\r\n")
    assert taken(parser) == []
    assert parser.is_amid_command


def test_lines_are_commands_too() -> None:
    parser = CommandParser()
    parser.feed(b"\r\nPING\r\nSET greeting \"hello\\x20world\\n\" 'it\\'s'\n*1\r\n$4\r\nQUIT\r\n")
    assert taken(parser) == [[b"PING"], [b"SET", b"greeting", b"hello world\n", b"it's"], [b"QUIT"]]


@given(st.binary(max_size=200))
def test_other_bytes_give_commands_or_one_fault(data: bytes) -> None:
    parser = CommandParser()
    parser.feed(data)
    try:
        taken(parser)
    except ProtocolFault as fault:
        assert str(fault).startswith("Protocol error")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*99999999\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$%d\r\n" % (MAX_DROPPED_BYTES + 1), "invalid bulk length"),
        (b"*1\r\n$1\r\nabc", "longer than its length says"),
        (b"*" + b"1" * 50, "too big mbulk count string"),
        (b"x" * 70_000, "too big inline request"),
        (b'SET a "b\r\n', "unbalanced quotes in request"),
    ],
)
def test_bad_bytes_are_refused_by_what_is_wrong(data: bytes, why: str) -> None:
    parser = CommandParser()
    parser.feed(data)
    with pytest.raises(ProtocolFault, match=why.replace("$", r"\$")):
        taken(parser)


@pytest.mark.parametrize(
    "line",
    [
        b"POST / HTTP/1.1", b"post x", b"Host: 127.0.0.1:6379", b"HOST:", b"GET /?FLUSHALL HTTP/1.1",
        b"OPTIONS / http/1.0", b"PUT /a HTTP/2", b"\x16\x03\x01\x02\x00\x01",
    ],
)  # fmt: skip
def test_what_a_browser_sends_is_not_a_command_and_what_follows_is_not_read(line: bytes) -> None:
    parser = CommandParser()
    parser.feed(b"PING\r\n" + line + b"\r\nFLUSHALL\r\n")
    assert parser.next_command() == [b"PING"]
    with pytest.raises(ForeignProtocol):
        parser.next_command()


@pytest.mark.parametrize("line", [b"GET HTTP/1.1", b"SET a HTTP/1.1", b"GET a b", b"hostess: a", b"posts a"])
def test_words_of_http_among_commands_are_commands(line: bytes) -> None:
    parser = CommandParser()
    parser.feed(line + b"\r\n")
    assert taken(parser) == [line.split()]


def test_a_word_may_not_go_on_behind_a_quote() -> None:
    assert words_of(b'"a"b') is None


@pytest.mark.parametrize("size", [4096, 1 << 16, MAX_VALUE_BYTES + 100])
def test_an_argument_that_is_too_large_is_dropped_and_the_next_command_is_read(size: int) -> None:
    length = MAX_VALUE_BYTES + 1
    sent = b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\nb\r\nPING\r\n" % (length, b"x" * length)
    parser, found = CommandParser(), list[list[bytes]]()
    for start in range(0, len(sent), size):
        parser.feed(sent[start : start + size])
        found += taken(parser)
        assert len(parser._data) <= (1 << 16) + size, "what is dropped is not kept"
    assert found == [[b"SET"], [b"PING"]]
    assert isinstance(found[0], TooLargeCommand)
    assert found[0].length == length
    assert not parser.is_amid_command


@pytest.mark.parametrize("amid", [b"*", b"*1", b"*1\r", b"*1\r\n", b"*1\r\n$4\r\nPI"])
def test_commands_that_were_taken_are_not_kept_wherever_packets_end(amid: bytes) -> None:
    parser, ping, found = CommandParser(), b"*1\r\n$4\r\nPING\r\n", 0
    parser.feed(amid)
    for _ in range(10_000):
        parser.feed(ping[len(amid) :] + amid)
        found += len(taken(parser))
        assert parser.held_bytes <= (1 << 16) + 1000
    assert found == 10_000
