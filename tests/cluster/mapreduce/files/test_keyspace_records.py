"""Records of keyspaces as a file, and what map gets of them by its hints."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files import keyspace_records
from ringmill.cluster.mapreduce.files.keyspace_records import Content, encode_records, read_rows, record_of
from ringmill.cluster.mapreduce.files.rendering import rendered

ONE: list[bytes] = [b"one \xff"]


@pytest.mark.parametrize(
    ("content", "hint", "given"),
    [
        (ONE, bytes, b"one \xff"),
        (ONE, str, "one \udcff"),
        (ONE, Any, b"one \xff"),
        ([b"new", b"old"], list[bytes], [b"new", b"old"]),
        ([b"new", b"old"], list[str], ["new", "old"]),
        (-7, int, -7),
        (-7, Any, -7),
        (frozenset((b"b", b"a")), set[bytes], {b"a", b"b"}),
        (frozenset((b"b", b"a")), frozenset[str], frozenset(("a", "b"))),
        ({b"n": b"v"}, dict[bytes, bytes], {b"n": b"v"}),
        ({b"n": b"v"}, dict[str, bytes], {"n": b"v"}),
        ({b"n": b"v"}, dict[str, str], {"n": "v"}),
    ],
)
def test_map_gets_what_a_key_holds_as_its_hint_says(content: Content, hint: Any, given: Any) -> None:
    [[row]] = read_rows([encode_records([(b"key", content)])])
    assert record_of(bytes, hint)(row) == (b"key", given)
    key, value = record_of(str, hint)(row)
    assert (key, type(value)) == ("key", type(given))


@pytest.mark.parametrize(
    ("content", "hint", "says"),
    [
        ([b"a", b"b"], str, "2 concurrent values, and map takes one; let it take list\\[str\\]"),
        (3, str, "holds a count, which map can take as int, not as str"),
        (frozenset((b"a",)), str, "holds a set"),
        ({b"n": b"v"}, int, "holds a map"),
        (ONE, int, "holds values"),
    ],
)
def test_what_map_does_not_take_is_its_users_error(content: Content, hint: Any, says: str) -> None:
    [[row]] = read_rows([encode_records([(b"key", content)])])
    with pytest.raises(TaskFailed, match=says) as failed:
        record_of(str, hint)(row)
    assert failed.value.cause is Cause.USER_ERROR


def test_rows_may_lie_across_blocks_and_a_torn_end_is_reported() -> None:
    data = encode_records((b"%d" % number, [b"v" * number]) for number in range(50))
    blocks = [data[start : start + 7] for start in range(0, len(data), 7)]
    rows = [row for block in read_rows(blocks) for row in block]
    assert [row[0] for row in rows] == [b"%d" % number for number in range(50)]
    ends = {
        len(encode_records([(b"0", [b""])])),
        len(data := encode_records([(b"0", [b""]), (b"1", [b"v", b"w"])])),
    }
    for length in range(1, len(data) + 1):
        if length in ends:
            assert [row for block in read_rows([data[:length]]) for row in block]
            continue
        with pytest.raises(TaskFailed, match=f"record of {length} bytes has no end") as torn:
            list(read_rows([data[:length]]))
        assert torn.value.cause is Cause.CORRUPT_DATA
    with pytest.raises(TaskFailed):
        record_of(bytes, bytes)([1, 2])


def test_a_file_may_be_larger_than_a_record_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyspace_records, "MOST_BYTES", 3000)
    data = encode_records((b"%d" % number, [b"v" * 1000]) for number in range(9))
    blocks = [data[start : start + 500] for start in range(0, len(data), 500)]
    assert sum(map(len, read_rows(blocks))) == 9
    large = encode_records([(b"k", [b"v" * 4000])])
    blocks += [large[start : start + 500] for start in range(0, len(large), 500)]
    with pytest.raises(TaskFailed, match="a record of a keyspace has more than 3000 bytes"):
        list(read_rows(blocks))


def test_a_record_of_many_small_values_has_that_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unpacker itself bounds what it has not looked at, and keeps what it has made of half a record."""
    monkeypatch.setattr(keyspace_records, "MOST_BYTES", 3000)
    many = encode_records([(b"k", [b"value"] * 2000)])
    with pytest.raises(TaskFailed, match="a record of a keyspace has more than 3000 bytes"):
        list(read_rows(many[start : start + 500] for start in range(0, len(many), 500)))


def test_an_output_holds_text_and_bytes_as_they_are_and_all_else_as_json() -> None:
    pairs = [("t", "é"), (b"b", b"\x00"), ("n", 3), ("l", ["a", 1]), ("s", "\udcff")]
    [(count, data)] = rendered(pairs, "kv", "reduce", "f()")
    [rows] = read_rows([data])
    assert count == len(pairs)
    assert [(key, values) for key, _, values in rows] == [
        (b"t", ["é".encode()]), (b"b", [b"\x00"]), (b"n", [b"3"]), (b"l", [b'["a",1]']), (b"s", [b"\xff"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (("", "v"), "no key of a keyspace"),
        (("k" * 1025, "v"), "no key of a keyspace"),
        ((3, "v"), "no key of a keyspace"),
        (("k", None), "has the value None"),
        (("k", b"x" * ((1 << 20) + 1)), "1048577 bytes"),
    ],
)
def test_what_no_put_would_take_fails_the_task(pair: tuple[Any, Any], says: str) -> None:
    with pytest.raises(TaskFailed, match=says):
        list(rendered([pair], "kv", "reduce", "f()"))
