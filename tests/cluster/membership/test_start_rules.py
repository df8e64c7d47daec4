"""Which start may go on from what a member remembers of its disk."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData, InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.start_rules import (
    EARLIER_STARTS,
    NO_MARK,
    Announcement,
    FormerDisks,
    FoundLogs,
    LogMark,
    Remembered,
    StartAnswer,
    StartVerdict,
    decode_remembered,
    encode_remembered,
    judge,
    noted,
    others_needed,
)

N1, DISK = NodeId("n1"), DiskId("ab" * 16)
SIXTH, SEVENTH, EIGHTH = Start(6, "aa"), Start(7, "bb"), Start(8, "cc")
FOUND = FoundLogs(12, (LogMark(10, 500), LogMark(12, 90)))


def told(start: Start = EIGHTH, *earlier: Start, found: FoundLogs = FOUND) -> Announcement:
    return Announcement(N1, DISK, start, earlier, found)


def known(start: Start, mark: LogMark = NO_MARK) -> Remembered:
    return Remembered(N1, start, mark)


def test_a_start_is_noted_that_goes_on_from_the_one_that_is_known() -> None:
    assert judge(None, told()) is StartVerdict.NOTED
    assert judge(known(SEVENTH), told(EIGHTH, SEVENTH, SIXTH)) is StartVerdict.NOTED
    assert judge(known(SIXTH), told(EIGHTH, SEVENTH, SIXTH)) is StartVerdict.NOTED  # the member was away
    assert judge(known(EIGHTH), told(EIGHTH, SEVENTH)) is StartVerdict.NOTED  # told twice


@pytest.mark.parametrize("number", [7, 8, 9, 20])
def test_a_folder_that_lacks_the_known_start_is_an_old_copy_whatever_its_number(number: int) -> None:
    """Each try raises the number, so a folder that is tried again and again gets above the known one."""
    rolled_back = told(Start(number, "dd"), Start(number - 1, "ee"), SIXTH)
    assert judge(known(Start(8, "cc")), rolled_back) is StartVerdict.OLD_COPY


def test_a_number_that_was_given_twice_is_told_apart_by_the_boot_id() -> None:
    assert judge(known(EIGHTH), told(Start(8, "other"), SEVENTH)) is StartVerdict.OLD_COPY
    assert judge(known(EIGHTH), told(Start(9, "dd"), Start(8, "other"))) is StartVerdict.OLD_COPY


def test_a_start_too_long_ago_to_be_named_is_not_an_objection() -> None:
    earlier = [Start(number, "aa") for number in range(99, 99 - EARLIER_STARTS, -1)]
    assert judge(known(Start(5, "zz")), told(Start(100, "aa"), *earlier)) is StartVerdict.NOTED
    assert judge(known(Start(98, "zz")), told(Start(100, "aa"), *earlier)) is StartVerdict.OLD_COPY


@pytest.mark.parametrize(
    ("mark", "is_held"),
    [
        (NO_MARK, True),
        (LogMark(10, 500), True),
        (LogMark(12, 90), True),
        (LogMark(12, 91), False),  # the end of the log is missing
        (LogMark(11, 4_000), True),  # flushed: files with higher numbers are there
        (LogMark(13, 1), False),  # nothing of what came then is there
    ],
)
def test_a_folder_holds_what_was_synced_or_what_has_replaced_it(mark: LogMark, is_held: bool) -> None:
    assert FOUND.holds(mark) is is_held
    verdict = judge(known(SEVENTH, mark), told(EIGHTH, SEVENTH))
    assert verdict is (StartVerdict.NOTED if is_held else StartVerdict.OLD_COPY)


def test_an_emptied_store_holds_no_mark() -> None:
    assert FoundLogs().holds(NO_MARK)
    assert not FoundLogs().holds(LogMark(3, 1))


def test_a_mark_never_goes_back_within_a_start_and_begins_anew_with_the_next() -> None:
    first = noted(None, replace(told(SEVENTH), mark=LogMark(5, 100)))
    late = noted(first, replace(told(SEVENTH), mark=LogMark(5, 40)))
    assert late.mark == LogMark(5, 100)
    assert noted(late, told(EIGHTH, SEVENTH)) == known(EIGHTH)


def test_a_start_whose_log_is_shorter_than_it_was_goes_on_from_a_snapshot_of_its_machine() -> None:
    present = known(SEVENTH, LogMark(5, 900))
    for mark in (LogMark(5, 100), LogMark(4, 2000), NO_MARK):
        assert judge(present, replace(told(SEVENTH), mark=mark)) is StartVerdict.OLD_COPY
    for mark in (LogMark(5, 900), LogMark(5, 901), LogMark(6, 1)):
        assert judge(present, replace(told(SEVENTH), mark=mark)) is StartVerdict.NOTED


def test_half_of_the_other_members_is_enough() -> None:
    assert [others_needed(members) for members in (1, 2, 3, 4, 5)] == [0, 1, 1, 2, 2]


def test_messages_survive_their_encoding() -> None:
    announced = replace(told(EIGHTH, SEVENTH, SIXTH), mark=LogMark(12, 77))
    assert Announcement.decode(announced.encode()) == announced
    for reply in (StartAnswer(StartVerdict.NOTED, EIGHTH), StartAnswer(StartVerdict.OLD_COPY, SEVENTH)):
        assert StartAnswer.decode(reply.encode()) == reply
    remembered = {DISK: known(EIGHTH, LogMark(3, 4)), DiskId("cd" * 16): known(SIXTH)}
    assert decode_remembered(encode_remembered(remembered)) == remembered
    assert decode_remembered(None) == {}
    former = FormerDisks().with_these([DISK]).with_these([DISK, DiskId("cd" * 16)])
    for each in (former, FormerDisks.decode(former.encode())):
        assert DISK in each and DiskId("cd" * 16) in each and DiskId("ef" * 16) not in each
    assert DISK not in FormerDisks.decode(None)
    for damaged in (b"\xc1", former.encode()[:-1], msgpack.packb([1, b"123"]), msgpack.packb([1, 8])):
        with pytest.raises(CorruptData):
            FormerDisks.decode(damaged)


def test_a_store_of_many_logs_names_the_newest_of_them() -> None:
    logs = tuple(LogMark(number, 100) for number in range(1, 301))
    announced = Announcement.decode(told(EIGHTH, SEVENTH, found=FoundLogs(300, logs)).encode())
    assert announced.found == FoundLogs(300, logs[-256:])
    for mark in (LogMark(3, 100), LogMark(300, 100)):
        assert judge(known(SEVENTH, mark), announced) is StartVerdict.NOTED
    assert judge(known(SEVENTH, LogMark(300, 101)), announced) is StartVerdict.OLD_COPY


@pytest.mark.parametrize(
    "fields",
    [
        [1],
        [1, "n1", "d", [8, "b"], [], 1, [], [0]],
        [1, "n1", "d", [-8, "b"], [], 1, [], [0, 0]],
        [1, "n1", "d" * 100, [8, "b"], [], 1, [], [0, 0]],
        [1, "n1", "d", [8, "b"], [[1, "x"]] * 40, 1, [], [0, 0]],
        [1, "n1", "d", [8, "b"], 7, 1, [], [0, 0]],
        [1, 5, "d", [8, "b"], [], 1, [], [0, 0]],
    ],
)
def test_what_is_not_an_announcement_is_refused(fields: list[object]) -> None:
    with pytest.raises(InvalidArgument):
        Announcement.decode(msgpack.packb(fields))


def test_other_versions_and_damage_are_refused() -> None:
    with pytest.raises(ProtocolMismatch, match="version 9"):
        Announcement.decode(msgpack.packb([9, "n1"]))
    with pytest.raises(InvalidArgument):
        StartAnswer.decode(b"\xc1")
    with pytest.raises(InvalidArgument):
        StartAnswer.decode(msgpack.packb([1, 7, [1, "x"]]))
    with pytest.raises(CorruptData):
        decode_remembered(b"\xc1")
