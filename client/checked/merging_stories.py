"""Whether a count is the sum of what was answered and of some of what may have been done, and no element or
entry is lost, comes back, or goes back.

It holds for reads and changes at levels with r + w > N.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.sums import adds_up

__all__ = ["merging_breaches"]


def merging_breaches(calls: Sequence[MergingCall]) -> Iterator[tuple[bytes, str]]:
    """Keys, by policy and name, and what a read of each showed that cannot be: a sentence for people."""
    by_key: dict[tuple[str, bytes], list[MergingCall]] = defaultdict(list)
    for call in calls:
        by_key[call.policy, call.key].append(call)
    for (policy, key), those in sorted(by_key.items()):
        changes = [call for call in those if call.kind != "get" and call.outcome != "failed"]
        for read in those:
            if read.kind == "get" and read.outcome == "ok":
                judge = _miscounted if policy == "counter" else _misshown
                for story in judge(read, changes):
                    yield key, f"{read.session} at {read.invoked:.3f} s: {story}"


def _miscounted(read: MergingCall, changes: Sequence[MergingCall]) -> Iterator[str]:
    done = [each.amount for each in changes if each.ended < read.invoked]
    maybe = [each.amount for each in changes if each.ended >= read.invoked and each.invoked < read.ended]
    if not adds_up(read.count - sum(done), maybe, None):
        yield (
            f"the count is {read.count}; {len(done)} additions were answered before and add up to "
            f"{sum(done)}, {len(maybe)} more may have been done"
        )


def _misshown(read: MergingCall, changes: Sequence[MergingCall]) -> Iterator[str]:
    entries = {each.entry for each in changes}
    for name in sorted(read.shown.keys() - entries):
        yield f"{name!r} is there, which nobody put"
    for entry in sorted(entries):
        begun = [each for each in changes if each.entry == entry and each.invoked < read.ended]
        puts = [each for each in begun if each.kind == "put"]
        over = [each for each in begun if each.ended < read.invoked]
        shown = read.shown.get(entry)
        if shown is None:
            yield from _missing(entry, puts, begun, read)
        elif not any(_may_show(put, over) and put.value == shown for put in puts):
            yield f"{entry!r} shows {shown!r}, which was removed or replaced before, or never put"


def _missing(
    entry: bytes, puts: Sequence[MergingCall], begun: Sequence[MergingCall], read: MergingCall
) -> Iterator[str]:
    """Put, answered, and not removed by anything that ended later than the put began."""
    for put in puts:
        removals = [each for each in begun if each.kind == "remove" and each.ended > put.invoked]
        if put.ended < read.invoked and not removals:
            yield f"{entry!r} is missing: {put.value!r} was put at {put.invoked:.3f} s and not removed since"


def _may_show(put: MergingCall, over: Sequence[MergingCall]) -> bool:
    """No change that began after its answer had itself been answered before the read."""
    return not any(put.ended < each.invoked for each in over)
