"""The load that counts lost writes must see one when there is one."""

from __future__ import annotations

import pytest

from ringmill.client.local.checked_load import KeyHistory
from ringmill.client.values import CausalContext, Item


def history(tried: int, acknowledged: int) -> KeyHistory:
    return KeyHistory(b"k", tried, acknowledged)


def item(*numbers: int) -> Item:
    values = tuple(b"k#%d#..." % number for number in numbers)
    return Item(values, CausalContext(b"c"), ("n1#1:1",) * len(values))


@pytest.mark.parametrize("read", [item(3), item(4), item(2, 3), item(4, 1)])
def test_the_acknowledged_value_or_a_later_one_is_right(read: Item) -> None:
    assert history(4, 3).fault_of(read) == ""


def test_nothing_is_right_before_anything_was_acknowledged() -> None:
    assert history(1, 0).fault_of(None) == ""


def test_an_older_value_is_a_lost_write() -> None:
    assert "3 was acknowledged" in history(4, 3).fault_of(item(2, 1))
    assert "3 was acknowledged" in history(4, 3).fault_of(None)


def test_a_value_that_was_never_written_is_a_fault() -> None:
    assert "newest ever tried" in history(4, 3).fault_of(item(5))
