"""Safeguards that scans rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Any, Final

import ringmill.node.requests.scans.scanner
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ports import Incoming
from ringmill.cluster.versions.object_codec import decode_object, outline
from ringmill.cluster.versions.objects import ABSENT, StoredObject, merge_all
from ringmill.node.replica.pages import Page, PageServing, ReadPage
from ringmill.node.replica.stored_key import Copy, copy_prefix
from ringmill.node.requests.scans.merging import OwnerRange, end_of, merged_of
from ringmill.node.requests.scans.owner_ranges import OwnerRanges
from ringmill.node.requests.scans.scan_values import ScannedKey
from ringmill.node.requests.scans.scanner import Scanner
from ringmill.node.requests.scans.walk import Step, Walk
from ringmill.node.storage.memtable import Memtable
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["SCAN_ABLATIONS"]

_SCANS: Final = ("scans",)


def _of(*faults: str) -> SimulationOptions:
    return SimulationOptions(_SCANS, faults=faults or None)


def _r_answers() -> Patches:
    """One owner less is asked."""
    read = OwnerRanges.read

    async def one_less(ranges, wanted, row, epoch, r, deadline):  # type: ignore[no-untyped-def]
        return await read(ranges, wanted, row, epoch, max(1, r - 1), deadline)

    return (method(OwnerRanges.read, one_less),)


def _tombstones_count() -> Patches:
    """An object without a value counts as no answer."""

    def merged_values(answers: Sequence[OwnerRange], key: bytes) -> StoredObject:
        found = [encoded for answer in answers if (encoded := answer.objects.get(key)) is not None]
        return merge_all(decode_object(each) for each in found if outline(each)[0])

    return (function(ringmill.node.requests.scans.scanner, merged_of, merged_values),)


def _all_merged() -> Patches:
    """The first answer alone counts."""

    def first_of(answers: Sequence[OwnerRange], key: bytes) -> StoredObject:
        encoded = answers[0].objects.get(key)
        return ABSENT if encoded is None else decode_object(encoded)

    return (function(ringmill.node.requests.scans.scanner, merged_of, first_of),)


def _values_shown() -> Patches:
    """A key is shown with its context, and without what it holds."""
    shown = Scanner._shown

    async def bare(scanner: Scanner, *of_key: Any) -> ScannedKey | None:
        found = await shown(scanner, *of_key)
        return None if found is None else found._replace(siblings=())

    return (method(Scanner._shown, bare),)


def _nearest_end() -> Patches:
    """A page goes as far as any of the answers."""

    def farthest(answers: Iterable[OwnerRange]) -> bytes:
        ends = [answer.covered_to for answer in answers]
        return b"" if b"" in ends else max(ends)

    return (function(ringmill.node.requests.scans.scanner, end_of, farthest),)


def _first_not_returned() -> Patches:
    """The next page begins behind the key that the cursor names."""
    cursor = Walk.cursor

    def behind(walk: Walk, step: Step | None) -> bytes:
        return cursor(walk, step._replace(key=step.key + b"\0") if step and step.key else step)

    return (method(Walk.cursor, behind),)


def _damage_told() -> Patches:
    """An owner with damage in the range answers with what has survived."""
    answer = PageServing.answer

    async def answer_survivors(pages: PageServing, incoming: Incoming) -> bytes:
        try:
            return await answer(pages, incoming)
        except CorruptData:
            request = ReadPage.decode(incoming.body)
            row = await pages._routes.row_of(request.partition, request.epoch, sender=incoming.sender)
            prefix = copy_prefix(Copy(request.partition, row.copy_epoch_of(pages._routes.node)))
            async with aclosing(
                pages._engine.survivors(prefix + request.start, prefix + request.end)
            ) as found:
                items = tuple([(key[len(prefix) :], encoded) async for key, encoded in found])
            return Page(row.row_epoch, items, b"").encode()

    return (method(PageServing.answer, answer_survivors),)


def _sorted_counts() -> Patches:
    """Keys count as sorted before they are: who scans meanwhile takes the runs as they are."""

    async def sort(memtable: Memtable, run_keys: int) -> None:
        values = memtable.values
        while memtable._indexed < len(values):
            fresh = list(islice(reversed(values), len(values) - memtable._indexed))
            memtable._indexed = len(values)
            for start in range(0, len(fresh), run_keys):
                memtable._add_run(sorted(fresh[start : start + run_keys]))
                await asyncio.sleep(0)

    return (method(Memtable.sort, sort),)


_ROT_AT_R_1: Final = SimulationOptions(_SCANS, r=1, w=3, faults=("bit_rot", "bit_flip", "crash"))
"""No other answer makes good for what one leaves out."""

_ONE_ANSWER: Final = SimulationOptions(_SCANS, nodes=3, r=1, w=3, faults=("pause",))

SCAN_ABLATIONS: Final = (
    Ablation("scan-asks-r", "a scan asks r owners of each partition", _r_answers(), _of(), rules=("L1",)),
    Ablation("scan-merges", "a scan merges what all of them hold", _all_merged(), _of(), rules=("L1",)),
    Ablation(
        "scan-shows-values", "a scan shows of each key what it holds", _values_shown(), _of(), rules=("L1",)
    ),
    Ablation(
        "scan-sees-tombstones",
        "a tombstone counts in the merge of a scan",
        _tombstones_count(),
        _of(),
        rules=("L1",),
    ),
    Ablation(
        "nearest-end",
        "a page of a scan ends at the nearest end of its answers",
        _nearest_end(),
        _of(),
        rules=("L2",),
    ),
    Ablation(
        "cursor-is-next",
        "a cursor names the first key that was not returned",
        _first_not_returned(),
        _of(),
        rules=("L3",),
    ),
    Ablation(
        "damage-is-told",
        "an owner that may have lost some keys of a range does not tell of it",
        _damage_told(),
        _ROT_AT_R_1,
        rules=("L4",),
    ),
    Ablation(
        "sorted-keys-count",
        "keys of a memtable count as sorted once they are in a sorted run",
        _sorted_counts(),
        _ONE_ANSWER,
        rules=("E13",),
    ),
)
