"""Typed records: what was written is read, in any pieces, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

PAIRS: list[tuple[Any, Any]] = [
    (("a", 1), [(1.5, b"x"), (2.5, b"\x00")]),
    (("\udc80", 1 << 80), []),
    (("", -1), [(0.0, b"")]),
]


def types(key: Any = tuple[str, int], value: Any = list[tuple[float, bytes]]) -> TypedRecords:
    return TypedRecords(key, value, "f()")


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_records_come_back_with_their_types_in_any_pieces(size: int) -> None:
    data = types().packed(PAIRS[:2]) + types().packed(PAIRS[2:])
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [pair for block in types().unpacked(pieces) for pair in block] == PAIRS
    assert list(types().unpacked([])) == []


@pytest.mark.parametrize(
    ("spoil", "cause", "message"),
    [
        (lambda data: data[:-1], Cause.CORRUPT_DATA, "no end"),
        (lambda data: data[:-1] + b"\x01", Cause.CORRUPT_DATA, "checksum"),
        (lambda data: b"word\t1\n", Cause.CORRUPT_DATA, "no typed records"),
        (lambda data: types(str, int).packed([("a", 1)]), Cause.USER_ERROR, "takes a key of type tuple"),
    ],
)
def test_anything_else_is_refused(spoil: Any, cause: Cause, message: str) -> None:
    with pytest.raises(TaskFailed, match=message) as raised:
        list(types().unpacked([spoil(types().packed(PAIRS))]))
    assert raised.value.cause is cause


def test_a_value_of_another_type_than_declared_is_not_written() -> None:
    with pytest.raises(TaskFailed, match="a value of type str where the hint says int"):
        types(str, int).packed([("a", "1")])
