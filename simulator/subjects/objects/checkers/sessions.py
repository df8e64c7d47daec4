"""C5: what one session may rely on at strict levels: monotonic reads, read your writes, writes follow reads.

Monotonic writes follow from C1: a strict read knows every write acknowledged before it began.  Reads never go
back for anybody: what one strict read showed no later read of R owners misses, whoever asks.  Where R is no
majority an answer is weak though R owners gave it: others need not show the same, and it shows what others
were promised to.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, Vector, covers, was_over

__all__ = ["check_sessions"]


def check_sessions(history: History) -> Iterator[Violation]:
    for key, operations in history.by_key().items():
        yield from _writes_follow_reads(key, operations)
        yield from _reads_never_go_back(key, operations)
        for name in sorted({operation.session for operation in operations}):
            mine = [operation for operation in operations if operation.session == name]
            yield from _one_session(key, [one for one in mine if not one.is_write or history.is_firm(one)])


def _one_session(key: bytes, operations: list[Operation]) -> Iterator[Violation]:
    known: dict[str, int] = {}
    source: dict[str, int] = {}
    for operation in operations:
        if not operation.is_ok or (operation.is_below and not operation.has_token):
            continue
        if operation.kind == "get":
            missing = [actor for actor, counter in known.items() if operation.seen.get(actor, 0) < counter]
            if missing:
                actor = missing[0]
                yield Violation(
                    "C5",
                    key,
                    f"session {operation.session} knew {actor}:{known[actor]}, "
                    f"then read {actor}:{operation.seen.get(actor, 0)}",
                    (source[actor], operation.index),
                )
            if not operation.is_weak or operation.has_token:
                _learn(known, source, operation.seen, operation.index)
        else:
            actor, _, counter = operation.dot.rpartition(":")
            _learn(known, source, {actor: int(counter)}, operation.index)


def _reads_never_go_back(key: bytes, operations: list[Operation]) -> Iterator[Violation]:
    """A read of R owners that begins after a strict one was answered shows no less.  O(reads squared)."""
    reads = [read for read in operations if not read.is_write and read.is_ok and not read.is_below]
    for later in reads:
        for read in reads:
            if read.is_weak or not was_over(read, later):
                continue
            actor = next((who for who, count in read.seen.items() if later.seen.get(who, 0) < count), None)
            if actor is not None:
                story = (
                    f"{read.session} read {actor}:{read.seen[actor]}, "
                    f"then {later.session} {actor}:{later.seen.get(actor, 0)}"
                )
                yield Violation("C5", key, story, (read.index, later.index))


def _learn(known: dict[str, int], source: dict[str, int], vector: Vector, index: int) -> None:
    for actor, counter in vector.items():
        if counter > known.get(actor, 0):
            known[actor], source[actor] = counter, index


def _writes_follow_reads(key: bytes, operations: list[Operation]) -> Iterator[Violation]:
    """Who sees a write sees nothing that the write's context had replaced."""
    contexts = {put.dot: put for put in operations if put.is_write and put.is_ok and put.given is not None}
    for read in operations:
        for version in read.siblings:
            put = contexts.get(version.dot)
            if put is None or put.given is None:
                continue
            for other in read.siblings:
                if other.dot != put.dot and covers(put.given, other.dot):
                    yield Violation(
                        "C5",
                        key,
                        f"a read shows {put.dot} beside {other.dot}, which it replaced",
                        (put.index, read.index),
                    )
