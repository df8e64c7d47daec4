"""Typed records: what was written is read, in any pieces, and nothing else is taken for it."""
# ruff: noqa: UP006, UP007, UP035, UP045, RUF036 - types are written in all ways that Python has

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from types import GenericAlias
from typing import Any, Dict, List, NewType, Optional, Tuple, Union

import msgpack
import pytest

from ringmill.cluster.mapreduce.codecs import typed_records
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords, record_type, same_type
from ringmill.cluster.mapreduce.codecs.value_codecs import value_codec
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


@dataclass(frozen=True)
class Row:
    x: int
    y: int


Turned = make_dataclass("Row", [("y", int), ("x", int)], frozen=True)
Wider = make_dataclass("Row", [("x", int), ("y", float)], frozen=True)


@pytest.mark.parametrize("other", [Turned, Wider])
@pytest.mark.parametrize(
    "around",
    [lambda of: of, lambda of: GenericAlias(list, of), lambda of: GenericAlias(dict, (str, of | None))],
)
def test_a_dataclass_of_the_same_name_with_other_fields_is_another_type(other: Any, around: Any) -> None:
    value: Any = {Row: Row(1, 2), list[Row]: [Row(1, 2)]}.get(around(Row), {"a": Row(1, 2)})
    data = types(str, around(Row)).packed([("k", value)])
    assert not same_type(around(Row), around(other))
    with pytest.raises(
        TaskFailed, match=r"takes a value .*; the records have .*Row\(x: int, y: int\)"
    ) as raised:
        list(types(str, around(other)).unpacked([data]))
    assert raised.value.cause is Cause.USER_ERROR
    assert list(types(str, around(Row)).unpacked([data])) == [[("k", value)]]


def test_what_a_former_release_wrote_of_a_dataclass_is_read_by_its_name() -> None:
    _, key, _, *rest = msgpack.unpackb(types(str, Row).packed([("k", Row(1, 2))]))
    former = msgpack.packb(["RMREC1", key, "Row", *rest])
    assert list(types(str, Row).unpacked([former])) == [[("k", Row(1, 2))]]
    with pytest.raises(TaskFailed, match="the records have Other"):
        list(types(str, Row).unpacked([msgpack.packb(["RMREC1", key, "Other", *rest])]))


def test_the_types_of_many_blocks_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def counted(hint: Any) -> str:
        looks.append(hint)
        return record_type(hint)

    monkeypatch.setattr(typed_records, "record_type", counted)
    rows = types(str, Row)
    data = b"".join(rows.packed([("k", Row(1, number))]) for number in range(3))
    assert len(list(rows.unpacked([data]))) == 3
    assert looks.count(Row) == 1


def test_types_without_a_dataclass_are_reported_as_they_are_written() -> None:
    assert types().packed(PAIRS).startswith(b"\x96\xa6RMREC1")
    assert [record_type(each) for each in (tuple[int, ...], None, list[Row])] == [
        "tuple[int, ...]", "None", "list[Row(x: int, y: int)]",
    ]  # fmt: skip
    assert record_type(tuple[Row | None, ...]) == "tuple[Row(x: int, y: int) | None, ...]"


UserId = NewType("UserId", int)
Names = NewType("Names", str)

ONE_TYPE: list[tuple[Any, Any]] = [
    (Optional[int], int | None),
    (Union[int, str], int | str),
    (str | int, int | str),
    (Union[int, None, str], None | str | int),
    (List[int], list[int]),
    (Dict[str, Tuple[int, ...]], dict[str, tuple[int, ...]]),
    (tuple[UserId, int], tuple[int, int]),
    (list[Optional[UserId]], list[int | None]),
    (tuple[Names | None, UserId], tuple[str | None, int]),
    (dict[str, Optional[Row]], dict[str, None | Row]),
    (make_dataclass("Held", [("a", Optional[int])]), make_dataclass("Held", [("a", int | None)])),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ONE_TYPE)
def test_a_type_is_the_same_however_it_is_written(one: Any, other: Any) -> None:
    assert same_type(one, other)
    assert same_type(other, one)
    assert not same_type(tuple[one, int], tuple[other, str])
    for written, read in ((one, other), (other, one)):
        block = types(str, GenericAlias(list, (written,))).packed([("k", [])])
        assert list(types(str, GenericAlias(list, (read,))).unpacked([block])) == [[("k", [])]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (int | None, int), (int | str, int | bytes), (list[int], tuple[int, ...]),
        (tuple[int, str], tuple[str, int]),
    ],
)  # fmt: skip
def test_other_types_are_not_taken_for_one(one: Any, other: Any) -> None:
    assert not same_type(one, other)
    assert not same_type(list[one], list[other])


def test_a_new_type_inside_of_what_a_former_release_wrote_is_read_in_whatever_module_it_was() -> None:
    _, key, value, *rest = msgpack.unpackb(types(str, tuple[UserId, int]).packed([("k", (UserId(1), 2))]))
    assert value == "tuple[int, int]"
    former = msgpack.packb(["RMREC1", key, "tuple[classes.UserId, int]", *rest])
    assert list(types(str, tuple[UserId, int]).unpacked([former])) == [[("k", (1, 2))]]
    with pytest.raises(TaskFailed, match="the records have"):
        list(types(str, tuple[UserId, str]).unpacked([former]))


def test_where_blocks_end_follows_from_the_records_alone() -> None:
    written = types(str, bytes)
    lengths = (200_000 if number % 40 == 3 else number % 7 for number in range(3000))
    records = [(f"k{number}", b"v" * length) for number, length in enumerate(lengths)]
    files = []
    for window in (1, 7, 1024, 3000):
        pieces = [records[at : at + window] for at in range(0, len(records), window)]
        columns = (([key for key, _ in piece], [value for _, value in piece]) for piece in pieces)
        files.append(list(written.blocks(columns)))
    assert files == [files[0]] * 4
    assert sum(count for count, _ in files[0]) == 3000
    assert max(len(data) for _, data in files[0]) < 2 << 20
    assert [pair for some in written.unpacked(data for _, data in files[0]) for pair in some] == records


def test_short_records_have_blocks_of_1024() -> None:
    written = types(str, int)
    pairs = [(f"k{number}", number) for number in range(2500)]
    blocks = list(written.blocks([([key for key, _ in pairs], [value for _, value in pairs])]))
    assert [count for count, _ in blocks] == [1024, 1024, 452]
    assert blocks[0][1] == written.packed(pairs[:1024])


def test_a_record_that_no_reader_could_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_records, "MOST_BYTES", (1 << 20) + 100)
    with pytest.raises(TaskFailed, match=r"a record of 1[0-9][0-9] bytes, 100 are allowed") as failed:
        list(types(str, str).blocks([(["k"], ["v" * 120])]))
    assert failed.value.cause is Cause.USER_ERROR


Name = NewType("Name", str)


@pytest.mark.parametrize("of", [int, tuple[int, str]])
def test_a_dict_whose_keys_are_a_newtype_is_that_of_what_it_wraps(of: Any) -> None:
    value = {"a": 1 if of is int else (1, "x"), "b": 2 if of is int else (2, "y")}
    named, plain = GenericAlias(dict, (Name, of)), GenericAlias(dict, (str, of))
    for writer, reader in ((named, plain), (plain, named), (named, named)):
        data = types(str, writer).packed([("k", value)])
        assert [pair for block in types(str, reader).unpacked([data]) for pair in block] == [("k", value)]


def test_a_dict_that_former_code_wrote_as_pairs_is_read_where_the_newtype_is_declared() -> None:
    codec = value_codec(dict[Name, int], "value")
    assert codec.from_wire([[["a", 1]], {"b": 2}]) == [{"a": 1}, {"b": 2}]
