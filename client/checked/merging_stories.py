"""Whether a count is the sum of what was answered and of some of what may have been done, and no element or
entry is lost, comes back, or goes back.

It holds for reads and changes at levels with r + w > N.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.sums import add_up_one_after_the_other, adds_up

__all__ = ["merging_breaches"]

_FORMER_READS: Final = 4
"""Each count is compared with this many that were answered last before it began."""


def merging_breaches(calls: Sequence[MergingCall]) -> Iterator[tuple[bytes, str]]:
    """Keys, by policy and name, and what a read of each showed that cannot be: a sentence for people."""
    by_key: dict[tuple[str, bytes], list[MergingCall]] = defaultdict(list)
    for call in calls:
        by_key[call.policy, call.key].append(call)
    for (policy, key), those in sorted(by_key.items()):
        changes = [call for call in those if call.kind != "get" and call.outcome != "failed"]
        reads = [call for call in those if call.kind == "get" and call.outcome == "ok"]
        reads.sort(key=lambda each: each.ended)
        for read, story in _miscounted(reads, changes) if policy == "counter" else _misshown(reads, changes):
            yield key, f"{read.session} at {read.invoked:.3f} s: {story}"


@dataclass(frozen=True, slots=True)
class _Count:
    """What a counter's read has shown; `left` is what additions that may have been done have to add up to."""

    read: MergingCall
    done: int
    left: int
    maybe: Sequence[MergingCall]

    @classmethod
    def of(cls, read: MergingCall, changes: Sequence[MergingCall]) -> Self:
        done = [each.amount for each in changes if each.was_over(read)]
        maybe = [each for each in changes if not each.was_over(read) and each.invoked < read.ended]
        return cls(read, len(done), read.count - sum(done), maybe)


def _miscounted(
    reads: Sequence[MergingCall], changes: Sequence[MergingCall]
) -> Iterator[tuple[MergingCall, str]]:
    counts = [_Count.of(read, changes) for read in reads]
    for at, count in enumerate(counts):
        if not adds_up(count.left, [each.amount for each in count.maybe], None):
            yield (
                count.read,
                f"the count is {count.read.count}; {count.done} additions were answered before and add up to "
                f"{count.read.count - count.left}, {len(count.maybe)} more may have been done",
            )
            continue
        former = [each for each in counts[:at] if each.read.was_over(count.read)]
        for one in former[-_FORMER_READS:]:
            if _goes_back(one, count):
                story = f"to {one.read.count} at {one.read.invoked:.3f} s"
                yield count.read, f"the count is {count.read.count}, without some of what was counted {story}"
                break


def _goes_back(one: _Count, later: _Count) -> bool:
    """Whether no choice of what may have been done explains both counts."""
    if not one.left:
        return False
    open_once = [each.amount for each in one.maybe if each.was_over(later.read)]
    open_twice = [each.amount for each in one.maybe if not each.was_over(later.read)]
    since = [each.amount for each in later.maybe if each.invoked >= one.read.ended]
    return not add_up_one_after_the_other(one.left, open_once, later.left, since, open_twice)


def _misshown(
    reads: Sequence[MergingCall], changes: Sequence[MergingCall]
) -> Iterator[tuple[MergingCall, str]]:
    by_entry: defaultdict[bytes, list[_Change]] = defaultdict(list)
    for change in changes:
        by_entry[change.entry].append(_Change(change, change.ended))
    for read in reads:  # in the order of their ends
        for entry, those in by_entry.items():
            _note_shown(read, entry, those)
    for read in reads:
        former = [each for each in reads if each.was_over(read)]
        for name in sorted(read.shown.keys() - by_entry.keys()):
            yield read, f"{name!r} is there, which nobody put"
        for entry, those in sorted(by_entry.items()):
            for story in _entry_misshown(entry, read, those, former):
                yield read, story


@dataclass(slots=True)
class _Change:
    """A put or removal, and when it was done at the latest: answered, or shown by a read."""

    call: MergingCall
    done_at: float

    def was_over(self, read: MergingCall) -> bool:
        return self.call.was_over(read) or self.done_at < read.invoked


def _note_shown(read: MergingCall, entry: bytes, those: Sequence[_Change]) -> None:
    """A read shows that a put is done when no other one can have made what it shows."""
    shown = read.shown.get(entry)
    if shown is None:
        return
    begun = [each for each in those if each.call.invoked < read.ended]
    over = [each for each in begun if each.was_over(read)]
    may_be = [each for each in begun if _may_show(each, over) and each.call.value == shown]
    if len(may_be) == 1:
        (put,) = may_be
        put.done_at = min(put.done_at, read.ended)


def _entry_misshown(
    entry: bytes, read: MergingCall, those: Sequence[_Change], former: Sequence[MergingCall]
) -> Iterator[str]:
    begun = [each for each in those if each.call.invoked < read.ended]
    over = [each for each in begun if each.was_over(read)]
    shown = read.shown.get(entry)
    if shown is None:
        calls = [each.call for each in begun]
        yield from _missing(entry, calls, read)
        yield from _gone(entry, calls, former)
        return
    if not any(_may_show(each, over) and each.call.value == shown for each in begun):
        yield f"{entry!r} shows {shown!r}, which was removed or replaced before, or never put"


def _missing(entry: bytes, begun: Sequence[MergingCall], read: MergingCall) -> Iterator[str]:
    """Put, answered, and not removed by anything that ended later than the put began."""
    for put in begun:
        removals = [each for each in begun if each.kind == "remove" and each.ended > put.invoked]
        if put.kind == "put" and put.was_over(read) and not removals:
            yield f"{entry!r} is missing: {put.value!r} was put at {put.invoked:.3f} s and not removed since"


def _gone(entry: bytes, begun: Sequence[MergingCall], former: Sequence[MergingCall]) -> Iterator[str]:
    """Shown before, and not removed by anything that was not over when that was asked."""
    shown = max((each.invoked for each in former if entry in each.shown), default=None)
    if shown is None or any(each.kind == "remove" and each.ended >= shown for each in begun):
        return
    yield f"{entry!r} is missing: a read at {shown:.3f} s showed it, and nothing has removed it since"


def _may_show(change: _Change, over: Sequence[_Change]) -> bool:
    """A put, and no change that began after it was done had itself been done before the read."""
    return change.call.kind == "put" and not any(change.done_at < each.call.invoked for each in over)
