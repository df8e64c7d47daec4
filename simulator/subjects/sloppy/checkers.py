"""C20: what fallbacks have counted for is not lost, and receipts of sloppy quorums say what is so.

- An acknowledged write is with every living owner in the end, or a write that has seen it is; what an
  acknowledged write has replaced does not come back.  Unless all who acked have lost their disks.
- A receipt has w seats at w nodes, owners and those that stand in for other owners.
- A receipt that is not weak names W owners, and a read that is not weak shows each such write that was
  acknowledged before it began, or a write that has seen it.
- While a run lasts, a fallback that counted has the write on its disk, or its owner has.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.subjects.sloppy.record import SloppyCall

__all__ = ["check_fresh", "check_kept", "check_receipts", "check_sloppy"]


def check_sloppy(
    calls: Sequence[SloppyCall], held: Mapping[tuple[str, bytes], Sequence[bytes]], gone: Collection[str]
) -> Iterator[Violation]:
    """`held` is what each owner holds of each key in the end, `gone` are nodes that lost their disks."""
    for (owner, key), values in sorted(held.items()):
        writes = [call for call in calls if call.key == key and call.kind != "get"]
        replaced = _replaced(call for call in writes if call.outcome != "failed")
        for write in writes:
            is_missing = write.value not in values and write.value not in replaced
            if write.is_acked and is_missing and not _is_gone(write, gone):
                yield Violation("C20", key, f"{owner} lacks {write.value!r} in the end, {_story(write)}")
        back = _replaced(call for call in writes if call.is_acked and not _is_gone(call, gone))
        for value in sorted(back.intersection(values)):
            yield Violation("C20", key, f"{owner} holds {value!r} in the end, which was replaced")
        for value in sorted({*values} - {write.value for write in writes if write.outcome != "failed"}):
            yield Violation("C20", key, f"{owner} holds {value!r}, which nobody wrote")
    for call in calls:
        if call.is_of_core and call.outcome != "ok":
            story = f"{call.kind} in a sloppy keyspace ended as {call.outcome}: {call.error}"
            yield Violation("C17", call.key, story)


def check_receipts(calls: Sequence[SloppyCall], owners: Mapping[bytes, Sequence[str]]) -> Iterator[Violation]:
    for call in calls:
        if call.is_acked and (wrong := _wrong(call, owners[call.key])):
            yield Violation("C20", call.key, f"{wrong}: {_story(call)}")


def check_fresh(
    calls: Sequence[SloppyCall], owners: Mapping[bytes, Sequence[str]], gone: Collection[str]
) -> Iterator[Violation]:
    """Unless an owner has lost something: then what it acked may be with fewer than W."""
    for read in calls:
        if read.kind != "get" or read.outcome != "ok" or read.weak or {*gone} & {*owners[read.key]}:
            continue
        writes = [call for call in calls if call.key == read.key and call.kind != "get"]
        replaced = _replaced(call for call in writes if call.outcome != "failed")
        for write in writes:
            is_firm = write.is_acked and not write.weak and (write.returned or math.inf) < read.invoked
            if is_firm and write.value not in read.shown and write.value not in replaced:
                yield Violation("C20", read.key, f"{read.session} reads nothing of it, {_story(write)}")


def check_kept(
    broken: Mapping[tuple[str, str, str], SloppyCall], gone: Collection[str]
) -> Iterator[Violation]:
    for (_, fallback, owner), call in sorted(broken.items()):
        if fallback not in gone and owner not in gone:
            yield Violation("C20", call.key, f"neither {fallback} nor {owner} holds it, {_story(call)}")


def _wrong(call: SloppyCall, owners: Sequence[str]) -> str:
    """What is wrong with a receipt; "" when nothing is."""
    acked = [ack.node for ack in call.replicas if ack.role == "owner"]
    fallbacks = [ack for ack in call.replicas if ack.role == "fallback"]
    stood_for = [ack.stands_for for ack in fallbacks]
    if any(ack.durability != "synced" for ack in fallbacks):
        return "a fallback counts with what is not on its disk"
    if not {*acked, *stood_for} <= {*owners} or any(ack.node in owners for ack in fallbacks):
        return "an owner stands in, or somebody for no owner"
    seats = [*acked, *stood_for]
    nodes = [*acked, *(ack.node for ack in fallbacks)]
    if len({*seats}) != len(seats) or len({*nodes}) != len(nodes):
        return "a seat or a node counts twice"
    if len(seats) < call.w:
        return f"{len(seats)} seats for w={call.w}"
    if not call.weak and len(acked) <= len(owners) // 2:
        return f"only {len(acked)} owners, and it is not weak"
    return ""


def _replaced(writes: Iterator[SloppyCall]) -> frozenset[bytes]:
    return frozenset(value for write in writes for value in write.replaces)


def _is_gone(write: SloppyCall, gone: Collection[str]) -> bool:
    """All who held it have lost their disks, or some bits of them."""
    return all(ack.node in gone for ack in write.replicas if ack.role != "hinted")


def _story(write: SloppyCall) -> str:
    who = ", ".join(
        f"{ack.node} ({ack.role}{' for ' if ack.stands_for else ''}{ack.stands_for})"
        for ack in write.replicas
    )
    return f"acknowledged to {write.session} as {write.dot} by {who}"
