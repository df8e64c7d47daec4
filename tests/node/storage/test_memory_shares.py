"""What of a node is in memory follows from how much there is."""

from __future__ import annotations

import pytest

from ringmill.node.node_options import NodeOptions
from ringmill.node.storage.memtable import Memtable

MIB = 1 << 20
RECORD_BYTES = 381  # measured: of memory, for a record of 117 bytes of log


@pytest.mark.parametrize("memory", [256 * MIB, 512 * MIB, 1024 * MIB])
def test_where_memory_is_short_memtables_cache_and_hints_are_small(memory: int) -> None:
    options = NodeOptions().within(memory)
    storage = options.storage
    memtable_bytes = storage.memtable_records * RECORD_BYTES
    both_and_childs = 3.5 * memtable_bytes
    hints_bytes = options.hints.most_hints * 400
    assert memtable_bytes < memory / 15
    assert both_and_childs + storage.block_cache_bytes + hints_bytes < memory / 2
    assert storage.memtable_bytes <= max(8 * MIB, memory // 16)


def test_where_there_is_enough_nothing_changes() -> None:
    usual, options = NodeOptions(), NodeOptions().within(3 << 30)
    assert options.storage.memtable_records * 117 > usual.storage.memtable_bytes
    assert options.storage.block_cache_bytes == usual.storage.block_cache_bytes
    assert options.hints == usual.hints


def test_a_memtable_is_full_by_bytes_or_by_records() -> None:
    memtable = Memtable(1)
    for number in range(3):
        memtable.put(number + 1, b"%d" % number, b"v", 0)
    assert memtable.fills(10, 3) and not memtable.fills(10, 4)
    memtable.size_bytes = 10
    assert memtable.fills(10, 4)
