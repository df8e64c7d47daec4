"""Commands that combine many keys take time and memory that grow with what was read, and no faster."""

from __future__ import annotations

import operator
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.client.gateway.redis.commands.bits import bits_of_all
from ringmill.client.gateway.redis.commands.command_spec import COMMANDS
from ringmill.client.gateway.redis.commands.command_table import load_commands
from ringmill.client.gateway.redis.protocol.replies import Reply

load_commands()

MIB = 1 << 20
LARGE = {b"%06d" % number for number in range(60_000)}
OPERATIONS: dict[bytes, Callable[[int, int], int]] = {
    b"AND": operator.and_, b"OR": operator.or_, b"XOR": operator.xor,
}  # fmt: skip


def combined(name: bytes, sets: Sequence[Any]) -> Reply:
    each_key = COMMANDS[name].each_key
    assert each_key is not None
    keys = [b"k%d" % number for number in range(len(sets))]
    words = keys if name.startswith(b"S") else [b"%d" % len(keys), *keys]
    return each_key(words, 2).combine(sets)


@pytest.mark.parametrize("name", [b"SUNION", b"SDIFF", b"ZUNION", b"ZDIFF", b"ZINTER", b"SINTER"])
def test_many_sets_that_are_not_there_cost_next_to_nothing(name: bytes) -> None:
    large: Any = LARGE if name.startswith(b"S") else [[member, 1.0] for member in LARGE]
    sets = [large, *[type(large)() for _ in range(1500)]]
    began_s = time.process_time()
    told = combined(name, sets)
    assert time.process_time() - began_s < 0.7
    assert isinstance(told, set | list) and len(told) == (0 if name.endswith(b"INTER") else len(LARGE))


few = st.sets(st.sampled_from([b"a", b"b", b"c", b"d"]))


@given(st.lists(few, min_size=1, max_size=4))
def test_they_are_combined_as_two_at_a_time(sets: list[set[bytes]]) -> None:
    pairs = [[[member, 1.0] for member in one] for one in sets]
    for name, combine in ((b"UNION", set.union), (b"DIFF", set.difference), (b"INTER", set.intersection)):
        expected: set[bytes] = reduce(combine, sets)
        assert combined(b"S" + name, sets) == expected
        told: Any = combined(b"Z" + name, pairs)
        assert (len(told), set(told)) == (len(expected), expected)


@given(st.sampled_from(sorted(OPERATIONS)), st.lists(st.binary(max_size=5), min_size=1, max_size=4))
def test_bits_are_combined_as_if_short_strings_ended_in_zeros(name: bytes, values: list[bytes]) -> None:
    length = max(map(len, values))
    padded = [value.ljust(length, b"\0") for value in values]
    assert bits_of_all(name, values) == bytes(
        reduce(OPERATIONS[name], column) for column in zip(*padded, strict=True)
    )
    assert bits_of_all(b"NOT", [values[0]]) == bytes(one ^ 0xFF for one in values[0])


def test_short_strings_beside_a_long_one_are_not_made_as_long() -> None:
    values = [b"\x80".rjust(MIB, b"\0"), *[b"\x01"] * 1000]
    tracemalloc.start()
    try:
        began_s = time.process_time()
        told = bits_of_all(b"OR", values)
        assert time.process_time() - began_s < 0.5
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert (len(told), told[:1], told[-1:]) == (MIB, b"\x01", b"\x80")
