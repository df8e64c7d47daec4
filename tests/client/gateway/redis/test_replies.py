"""Replies of both versions of Redis's protocol, and the arguments that all commands read alike."""

from __future__ import annotations

import pytest

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.protocol.replies import (
    NullArray,
    RedisError,
    Reply,
    double_text,
    encode_reply,
)


@pytest.mark.parametrize(
    ("reply", "second", "third"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (NullArray(), b"*-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (b"a\r\n", b"$3\r\na\r\n\r\n", b"$3\r\na\r\n\r\n"),
        ("PONG", b"+PONG\r\n", b"+PONG\r\n"),
        ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        ({b"a"}, b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
        ([b"a", None, []], b"*3\r\n$1\r\na\r\n$-1\r\n*0\r\n", b"*3\r\n$1\r\na\r\n_\r\n*0\r\n"),
        (RedisError("ERR two\r\nlines"), b"-ERR two  lines\r\n", b"-ERR two  lines\r\n"),
    ],
)
def test_each_type_in_both_versions(reply: Reply, second: bytes, third: bytes) -> None:
    assert encode_reply(reply, 2) == second
    assert encode_reply(reply, 3) == third


def test_numbers_are_written_as_redis_writes_them() -> None:
    assert [double_text(one) for one in (3.0, 0.1, float("-inf"), -0.0)] == [b"3", b"0.1", b"-inf", b"-0"]


@pytest.mark.parametrize("text", [b"", b"+1", b"01", b" 1", b"1.0", b"-0", b"9223372036854775808"])
def test_what_is_not_an_integer_is_refused(text: bytes) -> None:
    with pytest.raises(RedisError, match="not an integer or out of range"):
        one_integer(text)
