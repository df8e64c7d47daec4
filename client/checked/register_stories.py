"""Whether registers were linearizable, their changes applied once, and what failed for certain not done.

Versions make that a matter of looking.  A change that is answered names the version that it made, a read the
version that it saw; versions are one order of all changes, and everybody has to agree with it.  An incr tells
a number and no version: numbers have to fit each other (client/checked/register_counts.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_counts import counts_that_go_back
from ringmill.client.checked.register_plans import is_counter
from ringmill.client.checked.sums import adds_up

__all__ = ["register_breaches"]


def register_breaches(
    calls: Sequence[RegisterCall], removed: Mapping[bytes, Collection[int]] | None = None
) -> Iterator[tuple[bytes, str]]:
    """Keys, in order, and for each what no order of its calls explains: a sentence for people.

    `removed`: for a key, versions up to which registers were removed, and from which one without a value may
    count on.
    """
    by_key: dict[bytes, list[RegisterCall]] = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    for key, those in sorted(by_key.items()):
        for story in _broken(key, those, {*(removed or {}).get(key, ())}):
            yield key, story


def _broken(key: bytes, calls: Sequence[RegisterCall], removed: set[int]) -> Iterator[str]:
    yield from _real_time(calls)
    if is_counter(key):
        yield from _counted_from_one_of(calls, sorted({0, *removed}))
    else:
        yield from _one_order(calls, removed)
        yield from _refused(calls)


def _told_version(call: RegisterCall) -> bool:
    return call.outcome in ("ok", "conflict") and call.kind != "incr"


def _refused(calls: Sequence[RegisterCall]) -> Iterator[str]:
    """A refusal shows something else than was expected."""
    for call in calls:
        by_version = call.expect_version is not None
        fits = call.version == call.expect_version if by_version else call.shown == call.expect
        if call.outcome == "conflict" and fits:
            yield f"a cas was refused by version {call.version}, {call.shown!r}, which it fitted"


def _one_order(calls: Sequence[RegisterCall], removed: set[int]) -> Iterator[str]:
    """One value for each version, made by one change, that fitted the value before it."""
    value_of: dict[int, bytes | None] = {0: None}
    made_by: dict[int, RegisterCall] = {}
    for call in calls:
        if not _told_version(call):
            continue
        if value_of.setdefault(call.version, call.shown) != call.shown:
            yield f"version {call.version} is {value_of[call.version]!r} and {call.shown!r}"
        if call.outcome == "ok" and call.kind == "cas":
            if call.version in made_by:
                yield f"version {call.version} was made twice"
            made_by[call.version] = call
    for version, call in made_by.items():
        if call.expect_version is not None and call.expect_version != version - 1:
            yield f"a cas that expected version {call.expect_version} made version {version}"
        if call.expect_version is None and value_of.get(version - 1, call.expect) != call.expect:
            yield f"a cas that expected {call.expect!r} replaced {value_of[version - 1]!r}"
    may_be = {call.value for call in calls if call.kind == "cas" and call.outcome in ("ok", "unknown")}
    seen: dict[bytes, int] = {}
    for version, value in value_of.items():
        if value is not None and value not in may_be:
            yield f"version {version} shows {value!r}, which nobody set or which was refused"
        if value is not None and seen.setdefault(value, version) != version:
            yield f"{value!r} was set twice, as version {seen[value]} and {version}"
    unknown = sum(call.outcome == "unknown" and call.kind == "cas" for call in calls)
    skipped = _skipped(value_of, made_by, removed)
    missing = max(value_of) - len(made_by) - skipped
    if missing > unknown:
        yield f"{max(value_of)} changes were made, {len(made_by)} answered, and {unknown} may have been made"


def _skipped(
    value_of: Mapping[int, bytes | None], made_by: Mapping[int, RegisterCall], removed: set[int]
) -> int:
    """Versions that nobody made, as the register counted on from one up to which registers were removed."""
    skipped: set[int] = set()
    for version in removed:
        if value_of.get(version) is None and version <= max(value_of):
            former = max((each for each in made_by if each <= version), default=0)
            skipped |= {*range(former + 1, version + 1)}
    return len(skipped)


def _counted_from_one_of(calls: Sequence[RegisterCall], first_ones: Sequence[int]) -> Iterator[str]:
    """A number is never deleted, so it counts on from one version."""
    stories = [[*_counted(calls, first)] for first in first_ones]
    if [] not in stories:
        yield from stories[0]
        return
    for one, later in counts_that_go_back(calls):
        former = f"{int(one.shown or b'0')} of a {one.kind} at {one.invoked:.3f} s"
        number = f"{int(later.shown or b'0')} of a {later.kind} at {later.invoked:.3f} s"
        yield f"the number {number} does not fit {former}"


def _counted(calls: Sequence[RegisterCall], first: int) -> Iterator[str]:
    """Each number is the sum of all that was answered before, and of some of what may have been done.

    A read tells also how many changes there were; a change tells no version, and counts itself.
    """
    known: dict[int, bytes | None] = {}
    for call in calls:
        if not _was_done(call):
            continue
        if call.is_change and call.shown is None:
            yield "an incr was answered without a number"
            continue
        if not call.is_change and known.setdefault(call.version, call.shown) != call.shown:
            yield f"version {call.version} is {known[call.version]!r} and {call.shown!r}"
        changes = [each for each in calls if each.is_change and each.outcome != "failed" and each is not call]
        done = [each.by for each in changes if _was_done(each) and each.was_over(call)]
        open_ones = [
            each.by
            for each in changes
            if each.invoked < call.ended and not (_was_done(each) and each.was_over(call))
        ]
        number = int(call.shown or b"0")
        changed = 0 if call.shown is None else call.version - first
        extra = None if call.is_change else changed - len(done)
        if not adds_up(number - sum(done) - (call.by if call.is_change else 0), open_ones, extra):
            version = "" if call.is_change else f" in version {call.version}"
            yield (
                f"the number of a {call.kind} is {number}{version}; {len(done)} were answered before and add "
                f"up to {sum(done)}, {len(open_ones)} may have been done"
            )


def _was_done(call: RegisterCall) -> bool:
    return call.outcome == "ok"


def _real_time(calls: Sequence[RegisterCall]) -> Iterator[str]:
    """What begins after an answer sees at least what that answer told."""
    ends = sorted(
        (call.returned, call.version) for call in calls if _told_version(call) and call.returned is not None
    )
    newest, at = 0, 0
    own: dict[str, RegisterCall] = {}  # what each session was told last
    for call in sorted(calls, key=lambda each: each.invoked):
        while at < len(ends) and ends[at][0] < call.invoked:
            newest = max(newest, ends[at][1])
            at += 1
        if not _told_version(call):
            continue
        mine = own.get(call.session)
        known = max(newest, mine.version) if mine is not None and mine.was_over(call) else newest
        own[call.session] = call
        least = known + (call.kind == "cas" and call.outcome == "ok")
        if call.version < least:
            yield f"a {call.kind} told version {call.version} after version {known} had been told"
