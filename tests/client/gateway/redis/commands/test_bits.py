"""Bits of a string, beside what a search bit by bit finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.commands import command_table
from ringmill.client.gateway.redis.commands.command_spec import COMMANDS, KeyCall
from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.adapters.os_entropy import OsEntropy

command_table.load_commands()
few_bits = st.binary(max_size=12) | st.sampled_from([bytes(9), b"\xff" * 9, b"\0\0\x10\0", b"\xff\xff\xfe"])


def bitpos(value: bytes, *args: int) -> Reply:
    words = [b"%d" % each for each in args] + ([b"BIT"] if len(args) == 3 else [])
    run = COMMANDS[b"BITPOS"].one_key
    assert run is not None
    return run(KeyCall(words, Entry(value), 0, 2, OsEntropy()))


@given(few_bits, st.integers(0, 1), st.integers(0, 100), st.integers(0, 100))
def test_the_first_bit_of_a_range_is_found(value: bytes, bit: int, first: int, last: int) -> None:
    bits = "".join(f"{byte:08b}" for byte in value)
    assert bitpos(value, bit, first, last) == bits[: last + 1].find(str(bit), first)


@given(few_bits)
def test_zeros_follow_a_string_whose_end_is_not_given(value: bytes) -> None:
    bits = "".join(f"{byte:08b}" for byte in value)
    assert bitpos(value, 1) == bits.find("1")
    expected = bits.find("0") if value else -1
    assert bitpos(value, 0) == (len(bits) if value and expected < 0 else expected)
