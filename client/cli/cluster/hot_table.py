"""Draws `ringmill cluster status --hot`: hot keys and partitions, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from ringmill.client.administration.hot_view import HotKey, HotPartition, HotView

__all__ = ["show_hot"]

_COLUMNS: Final = (
    "KEY",
    "KEYSPACE",
    "PARTITION",
    "READS/S",
    "WRITES/S",
    "BYTES/S",
    "WITHIN",
    "WORK OF NODES",
)
_KEYS_SHOWN: Final = 10
_ADVISED: Final = 3
_KEY_CHARACTERS: Final = 40


def show_hot(settings: Settings, view: HotView) -> None:
    """Print the first keys, then what to do; in a pipe only the rows go to stdout.  JSON has all keys."""
    if settings.output == "json":
        output.show(settings, view.to_dict(), (), ())
        return
    tell = partial(output.beside, settings)
    output.show(settings, (), _COLUMNS, [_row(each) for each in view.keys[:_KEYS_SHOWN]])
    tell(f"{view.requests_s:,.0f} requests a second on keys; work of nodes: {_work(view.work_by_node)}")
    if view.silent:
        tell(f"without {', '.join(view.silent)}, who did not answer")
    for key in view.keys[:_ADVISED]:
        tell(printable(f"  {_shown(key)}: {key.advice}"))
    for each in view.partitions[:_KEYS_SHOWN]:
        tell(_partition(each))


def _row(key: HotKey) -> tuple[object, ...]:
    rates = (round(key.reads_s, 1), round(key.writes_s, 1), round(key.bytes_s), f"±{key.error_s:.0f}")
    return (_shown(key), key.keyspace, key.partition, *rates, _work(key.work_by_node))


def _shown(key: HotKey) -> str:
    text = key.key.decode("utf-8", "backslashreplace")
    return text if len(text) <= _KEY_CHARACTERS else text[: _KEY_CHARACTERS - 1] + "…"


def _work(by_node: Mapping[str, float]) -> str:
    most_first = sorted(by_node, key=lambda node: -by_node[node])
    return " ".join(f"{node} {by_node[node]:,.0f}" for node in most_first)


def _partition(each: HotPartition) -> str:
    words = " and ".join(word for word, is_so in (("hot", each.is_hot), ("large", each.is_large)) if is_so)
    return (
        f"  partition {each.partition} of {' '.join(each.owners)} is {words}: {each.requests_s:,.0f} requests"
        f" a second, {each.stored_bytes:,} bytes; {each.advice}"
    )
