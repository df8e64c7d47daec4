"""The state of a disk at a power cut, and the crash models that decide what survives it.

A moment records which bytes and names were durable and which were only promised.  Each model is a way in
which real disks and file systems have lost the rest:

- prefix: the unsynced writes and names up to some point survive, in the order they were made;
- any_order: any of the unsynced writes survive, whatever the order; names a prefix per folder;
- torn: the same, but in sectors of 512 bytes;
- names_first: every name survives, but data only by sectors: files have their size and hold zeros;
- lying: the disk said "synced" and had not; any suffix of its last promises is gone as well.

Pure but for the random numbers it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Final

__all__ = ["CrashModel", "Moment", "NameChange", "Survivors", "Write"]

_SECTOR: Final = 512


class CrashModel(StrEnum):
    PREFIX = "prefix"
    ANY_ORDER = "any_order"
    TORN = "torn"
    NAMES_FIRST = "names_first"
    LYING = "lying"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes [start, end) of a file, the `order`-th event of the disk."""

    order: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NameChange:
    """Names of one folder that change at once: to a file's number, or away (None)."""

    order: int
    folder: str
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Survivors:
    """A disk after the cut: names and the content of their files."""

    folders: frozenset[str]
    files: dict[str, bytes]
    links: dict[str, int] = field(default_factory=dict)  # the file number of each name

    def without(self, gone: Sequence[str]) -> Survivors:
        """The names of these folders are gone, and with them all that is below."""

        def is_left(path: str) -> bool:
            return not any(f"{path}/".startswith(f"{folder}/") for folder in gone)

        return Survivors(
            frozenset(filter(is_left, self.folders)),
            {name: body for name, body in self.files.items() if is_left(name)},
            {name: number for name, number in self.links.items() if is_left(name)},
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant of a disk, complete enough to crash there."""

    folders: frozenset[str]
    names: dict[str, int]  # durable ones
    changes: tuple[NameChange, ...]  # those that are not
    contents: dict[int, bytes]  # as a living reader sees them
    synced: dict[int, int]  # the size of the durable first part of each
    writes: dict[int, tuple[Write, ...]]  # those that are not
    promises: tuple[NameChange | tuple[int, Write], ...] = ()  # what a lying disk called durable, by order
    holes: dict[int, tuple[Write, ...]] = field(default_factory=dict)  # left by failed syncs
    made: tuple[tuple[int, str], ...] = ()  # folders whose own names are not durable, and when each was made

    def crash(self, model: CrashModel, random: Random) -> Survivors:
        """One of the disks that `model` allows to find after a cut at this moment."""
        if model is CrashModel.LYING:
            return self._without_last_promises(random).crash(CrashModel.ANY_ORDER, random)
        orders = self._orders()
        drawn = random.randint(0, orders[-1])
        limit = orders[drawn % len(orders)]
        kept = self._kept_changes(model, limit, random)
        found = self._survivors(kept, model, limit, random)
        gone = self._gone_folders(model, limit, random)
        return found.without(gone) if gone else found

    def _survivors(self, kept: list[NameChange], model: CrashModel, limit: int, random: Random) -> Survivors:
        names = dict(self.names)
        for change in kept:
            for name, number in change.names:
                if number is None:
                    names.pop(name, None)
                else:
                    names[name] = number
        bodies = {number: self._body(number, model, limit, random) for number in sorted(set(names.values()))}
        return Survivors(self.folders, {name: bodies[number] for name, number in names.items()}, names)

    def _kept_changes(self, model: CrashModel, limit: int, random: Random) -> list[NameChange]:
        if model is CrashModel.NAMES_FIRST:
            return list(self.changes)
        if model is CrashModel.PREFIX:
            return [change for change in self.changes if change.order <= limit]
        kept: list[NameChange] = []
        for folder in sorted({change.folder for change in self.changes}):
            mine = [change for change in self.changes if change.folder == folder]
            kept += mine[: random.randint(0, len(mine))]
        return sorted(kept, key=lambda change: change.order)

    def _gone_folders(self, model: CrashModel, limit: int, random: Random) -> list[str]:
        if model is CrashModel.NAMES_FIRST:
            return []
        if model is CrashModel.PREFIX:
            return [folder for order, folder in self.made if order > limit]
        return [folder for _, folder in self.made if random.random() < 0.5]

    def _body(self, number: int, model: CrashModel, limit: int, random: Random) -> bytes:
        content = self.contents[number]
        writes = self.writes.get(number, ())
        body = bytearray(content[: self.synced[number]])
        for write in writes:
            for start, end in _pieces(write, model):
                if write.order <= limit if model is CrashModel.PREFIX else random.random() < 0.5:
                    body.extend(bytes(max(0, end - len(body))))
                    body[start:end] = content[start:end]
        if model is CrashModel.NAMES_FIRST and writes and random.random() < 0.5:
            body.extend(bytes(max(0, writes[-1].end - len(body))))
        for hole in self.holes.get(number, ()):
            end = min(hole.end, len(body))
            body[hole.start : end] = bytes(max(0, end - hole.start))
        return bytes(body)

    def _orders(self) -> list[int]:
        """The order numbers of all changes that are not durable, sorted, behind 0 for none of them."""
        writes = {write.order for mine in self.writes.values() for write in mine}
        names = {*(change.order for change in self.changes), *(order for order, _ in self.made)}
        return sorted({0, *writes, *names})

    def _without_last_promises(self, random: Random) -> Moment:
        """Turn some last promises back into things that were never synced."""
        broken = self.promises[random.randint(0, len(self.promises)) :]
        synced = dict(self.synced)
        writes = {number: list(mine) for number, mine in self.writes.items()}
        for promise in broken:
            if not isinstance(promise, NameChange):
                number, write = promise
                if number in synced:
                    synced[number] = min(synced[number], write.start)
                    writes.setdefault(number, []).append(write)
        names_back = [promise for promise in broken if isinstance(promise, NameChange)]
        return Moment(
            folders=self.folders,
            names=_before(self.names, names_back),
            changes=tuple(sorted((*names_back, *self.changes), key=lambda change: change.order)),
            contents=self.contents,
            synced=synced,
            writes={number: tuple(sorted(mine, key=lambda w: w.order)) for number, mine in writes.items()},
            holes=self.holes,
            made=self.made,
        )


def _before(names: dict[str, int], undone: list[NameChange]) -> dict[str, int]:
    """Names without those that only the undone changes made; what they removed stays removed."""
    made = {name: number for change in undone for name, number in change.names if number is not None}
    return {name: number for name, number in names.items() if made.get(name) != number}


def _pieces(write: Write, model: CrashModel) -> list[tuple[int, int]]:
    if model not in (CrashModel.TORN, CrashModel.NAMES_FIRST):
        return [(write.start, write.end)]
    edges = [
        write.start,
        *range(write.start - write.start % _SECTOR + _SECTOR, write.end, _SECTOR),
        write.end,
    ]
    return [(start, end) for start, end in pairwise(edges) if start < end]
