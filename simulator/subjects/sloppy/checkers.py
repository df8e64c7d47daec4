"""C20: what fallbacks have counted for is not lost, and receipts of sloppy quorums say what is so.

- An acknowledged write is with every living owner in the end, or a write that has seen it is; what an
  acknowledged write has replaced does not come back.  Unless all who acked have lost their disks.
- A receipt has w seats at w nodes, owners and those that stand in for other owners; in a joint w of the old
  and w of the new owners (rule M1).
- A receipt that is not weak names W owners, and a read that is not weak shows each such write that was
  acknowledged before it began, or a write that has seen it.
- While a run lasts, a fallback that counted has the write on its disk, or its owner has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ringmill.cluster.ring.topology_entries import Row
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import was_over
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


def check_receipts(calls: Sequence[SloppyCall], row_of: Callable[[SloppyCall], Row]) -> Iterator[Violation]:
    """`row_of` has the owners under which a write was acknowledged."""
    for call in calls:
        if call.is_acked and (wrong := _wrong(call, row_of(call))):
            yield Violation("C20", call.key, f"{wrong}: {_story(call)}")


def check_fresh(
    calls: Sequence[SloppyCall], owners: Mapping[bytes, Collection[str]], gone: Collection[str]
) -> Iterator[Violation]:
    """Unless one of `owners`, all who have owned the key in the run, has lost something: then what it acked
    may be with fewer than W."""
    for read in calls:
        if read.kind != "get" or read.outcome != "ok" or read.weak or {*gone} & {*owners[read.key]}:
            continue
        answered = math.inf if read.returned is None else read.returned
        writes = [call for call in calls if call.key == read.key and call.kind != "get"]
        begun = [call for call in writes if call.invoked < answered]
        replaced = _replaced(call for call in begun if call.outcome != "failed")
        for write in begun:
            is_firm = write.is_acked and not write.weak
            if (
                is_firm
                and was_over(write, read)
                and write.value not in read.shown
                and write.value not in replaced
            ):
                yield Violation("C20", read.key, f"{read.session} reads nothing of it, {_story(write)}")


def check_kept(
    broken: Mapping[tuple[str, str, str], SloppyCall], gone: Collection[str]
) -> Iterator[Violation]:
    for (_, fallback, owner), call in sorted(broken.items()):
        if fallback not in gone and owner not in gone:
            yield Violation("C20", call.key, f"neither {fallback} nor {owner} holds it, {_story(call)}")


def _wrong(call: SloppyCall, row: Row) -> str:
    """What is wrong with a receipt; "" when nothing is."""
    acked = [ack.node for ack in call.replicas if ack.role == "owner"]
    fallbacks = [ack for ack in call.replicas if ack.role == "fallback"]
    stood_for = [ack.stands_for for ack in fallbacks]
    if any(ack.durability != "synced" for ack in fallbacks):
        return "a fallback counts with what is not on its disk"
    if not {*acked, *stood_for} <= {*row.nodes} or any(ack.node in row.nodes for ack in fallbacks):
        return "an owner stands in, or somebody for no owner"
    seats = [*acked, *stood_for]
    nodes = [*acked, *(ack.node for ack in fallbacks)]
    if len({*seats}) != len(seats) or len({*nodes}) != len(nodes):
        return "a seat or a node counts twice"
    level = call.w - row.is_joint  # a joint asks for one more, which is the level in both sets (rule M1)
    for owners in row.sets:
        if (seated := len({*owners} & {*seats})) < level:
            return f"{seated} seats for w={level} among {', '.join(owners)}"
        if not call.weak and (firm := len({*owners} & {*acked})) <= len(owners) // 2:
            return f"only {firm} owners of {', '.join(owners)}, and it is not weak"
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
