"""The options of the tables that an engine's child processes write."""

from __future__ import annotations

from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.table.table_writer import TableShape

__all__ = ["table_shape"]


def table_shape(options: EngineOptions, *, is_split: bool, cuts: tuple[bytes, ...] = ()) -> TableShape:
    """Tables of the configured size, or of any size when the strategy writes a single table."""
    return TableShape(
        block_bytes=options.block_bytes,
        table_bytes=options.table_bytes if is_split else 1 << 62,
        compression=options.compression,
        filter_bits_per_key=options.filter_bits_per_key,
        cuts=cuts,
    )
