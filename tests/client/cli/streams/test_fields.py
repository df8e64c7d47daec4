"""Fields of a line: what is printed can be read back, whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ringmill.client.cli.kv.batch_input import BATCH_BYTES, BATCH_ITEMS, in_batches
from ringmill.client.cli.kv.fields import bytes_of, field_of
from ringmill.cluster.errors import InvalidArgument


@given(some.binary() | some.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_field_is_one_printable_word_and_comes_back(data: bytes) -> None:
    field = field_of(data)
    assert field.isprintable()
    assert bytes_of(field) == data


@pytest.mark.parametrize("field", ["\\", "a\\q", "\\x4", "\\xgg"])
def test_an_escape_that_there_is_not_is_refused(field: str) -> None:
    with pytest.raises(InvalidArgument, match="backslash"):
        bytes_of(field)


def test_batches_are_bounded_in_items_and_bytes() -> None:
    assert [len(each) for each in in_batches(iter([b"k"] * 2500), len)] == [BATCH_ITEMS, BATCH_ITEMS, 500]
    large = [bytes(BATCH_BYTES // 4)] * 9
    assert [len(each) for each in in_batches(iter(large), len)] == [4, 4, 1]
    assert [len(each) for each in in_batches(iter([bytes(BATCH_BYTES + 1), b"k"]), len)] == [1, 1]
    assert list(in_batches(iter([]), len)) == []
