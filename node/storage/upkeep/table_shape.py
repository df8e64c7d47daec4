"""The shape of the tables that an engine's child processes make."""

from __future__ import annotations

from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.table.table_writer import TableShape

__all__ = ["table_shape"]


def table_shape(options: EngineOptions, *, is_split: bool) -> TableShape:
    """Tables of the options' size, or, where all goes into one table, of any."""
    return TableShape(
        block_bytes=options.block_bytes,
        table_bytes=options.table_bytes if is_split else 1 << 62,
        compression=options.compression,
        filter_bits_per_key=options.filter_bits_per_key,
    )
