"""The part of the Spawner door that an engine needs, and the shape of the tables its children make."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from ringmill.node.storage.options import Options
from ringmill.node.storage.table.table_writer import TableShape

__all__ = ["Children", "table_shape"]

P = ParamSpec("P")
T = TypeVar("T")


class Children(Protocol):
    """Runs functions in child processes."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See ringmill.cluster.ports.Spawner."""
        ...


def table_shape(options: Options, *, is_split: bool) -> TableShape:
    """Tables of the options' size, or, where all goes into one table, of any."""
    return TableShape(
        block_bytes=options.block_bytes,
        table_bytes=options.table_bytes if is_split else 1 << 62,
        compression=options.compression,
        filter_bits_per_key=options.filter_bits_per_key,
    )
