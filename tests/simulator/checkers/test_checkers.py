"""Each checker goes red on a history that breaks its property, and stays silent on a good one."""

from dataclasses import replace
from typing import Any

import pytest

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.cluster.versions.dots import VersionVector, parse_dot
from ringmill.cluster.versions.hybrid_time import ZERO
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.simulator.checkers.core import check_core
from ringmill.simulator.checkers.promptness import check_errors
from ringmill.simulator.checkers.purged import check_purged
from ringmill.simulator.history import (
    BesideDamage,
    Coordinated,
    CoreHistory,
    Final,
    History,
    Operation,
    Purged,
    ReceiptLine,
    SeenSibling,
)
from ringmill.simulator.job_history import JobRecord, JobReport
from ringmill.simulator.scan_history import ScanRecord
from ringmill.simulator.subjects.jobs.checkers import check_jobs
from ringmill.simulator.subjects.objects.checkers.damage import check_beside_damage
from ringmill.simulator.subjects.objects.checkers.durability import check_damaged
from ringmill.simulator.subjects.objects.checkers.every import check_all, check_real
from ringmill.simulator.subjects.objects.checkers.progress import check_progress
from ringmill.simulator.subjects.objects.checkers.staleness import staleness_s

KEY = b"k"


def _put(index: int, value: bytes, dot: str, *, at: float, session: str = "a") -> Operation:
    receipt = (ReceiptLine("n1", "owner", "synced"),)
    return Operation(
        index, session, "put", KEY, at, at + 1, "ok", value=value, dot=dot, replicas=receipt
    )  # fmt: skip


def _get(
    index: int, start: float, end: float, seen: dict[str, int], *versions: SeenSibling, session: str = "a"
) -> Operation:
    return Operation(index, session, "get", KEY, start, end, "ok", seen=seen, siblings=versions)


ONE = _put(0, b"1", "n1#1:1", at=0)
TWO = replace(_put(1, b"2", "n1#1:2", at=2), given={"n1#1": 1})
READ_TWO = _get(2, 4, 5, {"n1#1": 2}, SeenSibling(b"2", "n1#1:2"))
END = [Final(KEY, node, {"n1#1": 2}, ("n1#1:2",)) for node in ("n1", "n2", "n3")]


def _found(*operations: Operation, finals: list[Final] | None = None) -> set[str]:
    return {v.property for v in check_all(History(list(operations), END if finals is None else finals))}


def test_a_good_history_is_silent() -> None:
    assert _found(ONE, TWO, READ_TWO) == set()


def test_c1_an_owner_that_forgot_an_acknowledged_write() -> None:
    assert "C1" in _found(ONE, TWO, finals=[*END[:2], Final(KEY, "n3", {"n1#1": 1}, ("n1#1:1",))])


def test_c1_a_read_that_misses_what_was_acknowledged_before() -> None:
    assert _found(ONE, TWO, _get(2, 4, 5, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1"), session="b")) >= {"C1"}


OWNERS = tuple(ReceiptLine(node, "owner", "synced") for node in ("n1", "n2"))


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({}, ""),
        ({"level": "all"}, ""),
        ({"level": "one", "w": 1, "is_weak": True, "replicas": OWNERS[:1]}, ""),
        ({"is_synced": False, "is_buffered": True, "replicas": OWNERS}, ""),
        ({"is_weak": True}, "is weak"),
        ({"level": "all", "is_weak": True}, "is weak"),
        ({"w": 1}, "less than the keyspace's 2"),
        ({"replicas": (OWNERS[0], ReceiptLine("n2", "hinted", "synced"))}, "names 1 owners"),
        ({"replicas": (OWNERS[0], OWNERS[0])}, "twice"),
        ({"replicas": (OWNERS[0], ReceiptLine("n4", "fallback", "synced"))}, "another role"),
        ({"replicas": (OWNERS[0], ReceiptLine("n2", "owner", "buffered"))}, "less than synced"),
    ],
)
def test_c1_a_receipt_that_does_not_say_what_was_asked_for(more: dict[str, Any], wrong: str) -> None:
    put = replace(ONE, **{"level": "", "w": 2, "replicas": OWNERS, **more})
    found = [each for each in check_all(History([put], [], default_w=2)) if each.property == "C1"]
    assert bool(found) is bool(wrong)
    assert all(wrong in each.story for each in found)


def test_c2_owners_that_differ_at_the_end() -> None:
    assert "C2" in _found(ONE, TWO, finals=[*END[:2], Final(KEY, "n3", {"n1#1": 2}, ())])


def test_c2_owners_that_hold_another_value_expiry_or_a_tombstone_under_one_name() -> None:
    stored = object_of(Sibling(parse_dot("n1#1:2"), b"2", ZERO, OperationId(1, 2, ZERO)))
    seen, (sibling,) = END[0].seen, stored.siblings
    good = [Final.of(KEY, node, stored) for node in ("n1", "n2")]
    assert _found(ONE, TWO, READ_TWO, finals=good) == set()
    for other in ({"value": b"1"}, {"value": None}, {"expires_at_ms": 9}):
        wrong = Final.of(KEY, "n3", object_of(sibling._replace(**other)))
        assert (wrong.dots, wrong.seen) == (good[0].dots, seen)
        assert _found(ONE, TWO, READ_TWO, finals=[*good, wrong]) == {"C2"}


def object_of(sibling: Sibling) -> StoredObject:
    return StoredObject(VersionVector(((sibling.dot.actor, sibling.dot.counter),)), (sibling,))


def test_c3_a_put_that_nobody_could_have_replaced_is_gone() -> None:
    early = _put(0, b"0", "n2#1:1", at=0, session="b")
    late = replace(_put(1, b"2", "n1#1:2", at=2), given={"n1#1": 1})
    finals = [Final(KEY, node, {"n1#1": 2, "n2#1": 1}, ("n1#1:2",)) for node in ("n1", "n2", "n3")]
    assert "C3" in _found(early, late, finals=finals)


def test_a_write_of_the_end_may_have_the_number_of_one_that_it_replaced() -> None:
    late = replace(_put(0, b"2", "n1#1:2", at=2), given={"n1#1": 1})
    assert _found(ONE, late) == set()


def test_c4_a_value_that_nobody_wrote() -> None:
    assert "C4" in _found(ONE, TWO, _get(2, 4, 5, {"n1#1": 2}, SeenSibling(b"?", "n1#1:2")))


def test_c4_a_value_whose_put_failed_for_certain() -> None:
    failed = replace(_put(3, b"3", "", at=2), outcome="failed")
    assert "C4" in _found(ONE, TWO, failed, _get(4, 4, 5, {"n1#1": 2}, SeenSibling(b"3", "n1#1:2")))


def test_c4_a_context_that_was_handed_out_is_refused() -> None:
    refused = replace(TWO, outcome="failed", dot="", error="INVALID_ARGUMENT: it names write n1#1:2")
    assert "C4" in _found(ONE, refused, finals=[])


def test_c5_reads_of_two_sessions_that_go_back_on_a_write_of_unknown_outcome() -> None:
    unknown = replace(TWO, outcome="unknown", dot="")
    earlier = _get(3, 6, 7, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1"), session="b")
    assert _found(ONE, unknown, READ_TWO, earlier, finals=[]) == {"C5"}
    assert _found(ONE, unknown, READ_TWO, replace(earlier, invoked=4.5), finals=[]) == set()


def test_c5_where_r_is_no_majority_a_weak_read_promises_nothing_and_is_promised_what_was_acknowledged() -> (
    None
):
    unknown = replace(TWO, outcome="unknown", dot="")
    shown = replace(READ_TWO, is_weak=True, is_at_r=True)
    later = replace(_get(3, 6, 7, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1")), is_weak=True, is_at_r=True)
    assert _found(ONE, unknown, shown, later, finals=[]) == set()
    assert _found(ONE, unknown, READ_TWO, replace(later, session="b"), finals=[]) == {"C5"}
    assert _found(ONE, TWO, later) == {"C1", "C5", "C6"}
    assert _found(ONE, TWO, replace(later, is_at_r=False)) == set()


def test_c5_a_session_that_goes_back() -> None:
    assert "C5" in _found(ONE, TWO, READ_TWO, _get(3, 6, 7, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1")))


def test_c5_a_write_shown_beside_what_its_context_replaced() -> None:
    both = _get(2, 4, 5, {"n1#1": 2}, SeenSibling(b"1", "n1#1:1"), SeenSibling(b"2", "n1#1:2"), session="b")
    assert "C5" in _found(ONE, TWO, both)


def test_c6_a_deleted_value_comes_back() -> None:
    gone = Operation(1, "a", "delete", KEY, 2, 3, "ok", dot="n1#1:2", given={"n1#1": 1})
    back = _get(2, 4, 5, {"n1#1": 2}, SeenSibling(b"1", "n1#1:1"), session="b")
    assert "C6" in _found(ONE, gone, back)


def test_c11_stale_weak_reads_are_measured_not_refused() -> None:
    weak = replace(_get(2, 4, 5, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1"), session="b"), is_weak=True)
    assert _found(ONE, TWO, weak) == set()
    assert staleness_s(History([ONE, TWO, weak])) == [1.0]


def test_a_history_survives_json_lines() -> None:
    history = History([ONE, TWO, READ_TWO], END, beside_damage=[BesideDamage(0, 2, 2)])
    history.core = CoreHistory({"n4": "dead"}, ["n1"], [1, 2])
    again = History.from_lines(history.to_lines())
    assert again.operations == history.operations
    assert again.finals == history.finals
    assert again.beside_damage == history.beside_damage
    assert again.core == history.core


def test_the_kept_lines_of_a_history_have_the_verdict_of_the_run() -> None:
    failed = replace(READ_TWO, outcome="failed", timeout_s=1.0, error="UNAVAILABLE: no node")
    history = History([ONE, TWO, failed], END, first_fired_at={"crash": 0.5}, fired={"crash": 1}, default_w=2)
    history.spoiling = frozenset({"bit_rot"})
    history.purged = [Purged(6.0, "n1", KEY, {"n1#1": 2}, ("n1#1:2",), alive_at=("n2",))]
    history.coordinated = [
        Coordinated(0.5, "n1", KEY, b"1", "n1#1:1"),
        Coordinated(2.5, "n1", KEY, None, "n1#1:2"),
    ]
    told = JobReport(1.0, "n1", "SUCCEEDED", {"map": 3}, {})
    history.jobs.jobs = [JobRecord("job-1", "/o", told=[told])]
    history.jobs.records, history.jobs.counters = {"/o": {"map": 3}}, {"/o": {}}
    history.jobs.left = ["a register"]
    again = History.from_lines(history.to_lines())
    for judge in (check_all, check_jobs, check_purged):
        assert [*judge(again)] == [*judge(history)]
    assert [*check_jobs(again)] != []
    assert [*check_purged(again)] != []
    assert (again.purged, again.coordinated) == (history.purged, history.coordinated)
    assert (again.spoiling, again.default_w) == (history.spoiling, history.default_w)


def test_c1_a_damaged_node_that_shows_less_than_it_had_acknowledged_itself() -> None:
    forgetful = [Final(KEY, "n1", {}, ())]
    assert {v.property for v in check_damaged(History([ONE], END, shown_by_lost=forgetful))} == {"C1"}
    hinted = replace(ONE, replicas=(ReceiptLine("n1", "hinted", "synced"),))
    assert list(check_damaged(History([hinted], END, shown_by_lost=forgetful))) == []


@pytest.mark.parametrize(
    ("error", "w", "sound", "is_red"),
    [
        ("QUORUM_NOT_REACHED: put needs 2 owners", 2, 2, True),
        ("QUORUM_NOT_REACHED: put needs 3 owners", 3, 2, False),
        ("QUORUM_NOT_REACHED: put needs 3 owners", 3, 3, True),
        ("QUORUM_NOT_REACHED: put needs 1 owner", 1, 2, True),
        ("CORRUPT_DATA: 000004.sst", 3, 2, True),
        ("DEADLINE_EXCEEDED: kv.put", 2, 2, False),
    ],
)
def test_c16_a_put_that_sound_owners_could_have_taken(error: str, w: int, sound: int, is_red: bool) -> None:
    failed = replace(ONE, outcome="unknown", error=error)
    history = History([failed], END, beside_damage=[BesideDamage(0, w, sound)])
    assert {v.property for v in check_beside_damage(history)} == ({"C16"} if is_red else set())


def test_c17_a_core_that_answers_and_reads_back_is_silent() -> None:
    history = History([ONE, TWO, READ_TWO], END, core=CoreHistory({"n4": "dead"}, [], [1, 2]))
    assert list(check_progress(history)) == []


def test_c17_a_node_of_the_core_that_does_not_serve() -> None:
    history = History(core=CoreHistory({"n4": "dead"}, ["n1"]))
    (found,) = check_core(history)
    assert found.property == "C17"
    assert "n1 of the healed core does not serve beside n4 (dead)" in str(found)


def test_c17_a_job_of_the_core_that_does_not_succeed() -> None:
    history = History(core=CoreHistory({"n4": "dead"}, failed_jobs=["job-core: still runs"]))
    (found,) = check_core(history)
    assert "a job did not succeed beside n4 (dead): job-core: still runs" in str(found)


def test_c17_a_request_of_the_core_that_is_not_answered() -> None:
    lost = replace(TWO, outcome="unknown", dot="", error="DEADLINE_EXCEEDED: no answer")
    history = History([ONE, lost], END, core=CoreHistory({"n4": "stopped"}, [], [0, 1]))
    assert {v.property for v in check_progress(history)} == {"C17"}


def test_c17_a_read_that_misses_what_the_core_has_acknowledged() -> None:
    stale = _get(2, 4, 5, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1"))
    history = History([ONE, TWO, stale], END, core=CoreHistory({"n4": "dead"}, [], [1, 2]))
    assert {v.property for v in check_progress(history)} == {"C17"}


def test_c22_a_call_that_outlives_its_time() -> None:
    late = replace(READ_TWO, returned=6, timeout_s=1.0)
    assert _found(ONE, TWO, replace(READ_TWO, timeout_s=1.0)) == set()
    assert _found(ONE, TWO, late) == {"C22"}
    hanging = replace(READ_TWO, returned=None, outcome="unknown", timeout_s=1.0)
    after = replace(_get(3, 9, 10, {"n1#1": 2}, SeenSibling(b"2", "n1#1:2")), timeout_s=1.0)
    assert _found(ONE, TWO, hanging, after) == {"C22"}
    assert _found(ONE, TWO, replace(hanging, invoked=9.5), after) == set(), "the run ended before"


def test_c22_an_error_that_no_fault_explains() -> None:
    history = History([ONE, TWO], END, first_fired_at={"crash": 0.0})
    for code, is_wrong in (("INTERNAL", True), ("STALE", True), ("UNAVAILABLE", False)):
        failed = replace(READ_TWO, outcome="failed", timeout_s=1.0, error=f"{code}: what it says")
        history.operations[2:] = [failed]
        assert {found.property for found in check_all(history)} == ({"C22"} if is_wrong else set()), code


def test_c22_calls_that_fail_though_nothing_goes_wrong() -> None:
    failed = replace(READ_TWO, outcome="failed", timeout_s=1.0, error="UNAVAILABLE: no node")
    assert _found(ONE, TWO, failed) == {"C22"}
    late = replace(failed, error="DEADLINE_EXCEEDED: too late")
    assert _found(ONE, TWO, late) == set(), "disks are slow"
    good = replace(READ_TWO, timeout_s=1.0)
    assert _found(ONE, TWO, *[good] * 44, *[late] * 6) == {"C22"}
    assert _found(ONE, TWO, *[good] * 46, *[late] * 4) == set()


def test_c22_who_does_not_wait_for_a_flush_may_be_late_where_a_few_writes_fill_a_memtable() -> None:
    def found(timeout_s: float, stall_s: float, code: str = "DEADLINE_EXCEEDED") -> set[str]:
        good = replace(READ_TWO, returned=READ_TWO.invoked + 0.2, timeout_s=timeout_s)
        late = replace(good, outcome="failed", error=f"{code}: why")
        history = History([ONE, TWO, *[good] * 40, *[late] * 40], END, stall_s=stall_s)
        return {each.property for each in check_all(history)}

    assert found(0.3, stall_s=0.0) == found(1.0, stall_s=0.0) == {"C22"}
    assert found(0.3, stall_s=0.24) == {"C22"}, "it waits for longer"
    assert found(0.3, stall_s=1.2) == found(1.0, stall_s=1.2) == set()
    assert found(5.0, stall_s=1.2) == {"C22"}, "it waits for longer"
    assert found(0.3, stall_s=1.2, code="UNAVAILABLE") == {"C22"}, "not for lack of time"


def test_c22_what_fails_before_the_first_fault_is_judged_in_runs_with_faults_too() -> None:
    failed = replace(READ_TWO, outcome="failed", timeout_s=1.0, error="UNAVAILABLE: no node")
    for first_at, is_wrong in (
        ({"crash": 5.5, "loss": 9.0}, True),
        ({"late_work": 1.0, "child_cut": 1.0}, True),
        ({"crash": 4.5, "loss": 9.0}, False),
    ):
        history = History([ONE, TWO, failed], END, first_fired_at=first_at)
        assert {found.property for found in check_all(history)} == ({"C22"} if is_wrong else set()), first_at


def test_c22_damaged_data_that_nothing_had_damaged() -> None:
    failed = replace(READ_TWO, outcome="failed", timeout_s=1.0, error="CORRUPT_DATA: a block")
    for first_at, is_wrong in (
        ({"crash": 1.0}, True),
        ({"crash": 1.0, "bit_flip": 5.5}, True),
        ({"bit_flip": 4.5}, False),
    ):
        history = History(
            [ONE, TWO, failed], END, first_fired_at=first_at, spoiling=frozenset({"bit_flip", "disk_lost"})
        )
        assert {found.property for found in check_all(history)} == ({"C22"} if is_wrong else set()), first_at


def test_c22_errors_of_registers_counters_and_scans_are_judged_too() -> None:
    register = RegisterCall("a", "get", KEY, 1.0, returned=2.0, outcome="failed")
    counter = MergingCall("a", "counter", "count", KEY, 1.0, returned=2.0, outcome="failed")
    scan = ScanRecord("a", b"", 1.0, returned=2.0)
    for code, is_wrong in (("STALE", True), ("CORRUPT_DATA", True), ("UNAVAILABLE", False)):
        register.error = counter.error = f"{code}: why"
        scan.errors = [f"{code}: why"]
        history = History(registers=[register], merging=[counter], scans=[scan], scan_writes=[ONE])
        found = [violation.property for violation in check_errors(history)]
        assert found == ["C22"] * (3 if is_wrong else 0), code


def test_c22_errors_that_no_fault_excuses_are_judged_on_real_processes_too() -> None:
    counter = MergingCall("a", "counter", "count", KEY, 1.0, returned=60.0, outcome="unknown", timeout_s=1.0)
    late = replace(READ_TWO, returned=60.0, timeout_s=1.0)
    history = History([ONE, TWO, late], END, merging=[counter], first_fired_at={"crash": 0.0})
    assert check_real(history) == [], "a busy machine is late by itself"
    for error, is_wrong in (
        ("INTERNAL: KeyError: 'row'", True),
        ("PROTOCOL_MISMATCH: no such frame", True),
        ("CORRUPT_DATA: a block", True),
        ("UNAVAILABLE: no node", False),
        ("INTERNAL: 127.0.0.1:1: Stream removed (gRPC UNKNOWN)", False),
    ):
        counter.error, history.operations[2] = error, replace(late, outcome="failed", error=error)
        assert [found.property for found in check_real(history)] == ["C22"] * (2 * is_wrong), error


def test_what_a_session_asks_at_the_instant_of_its_answer_is_asked_behind_it() -> None:
    delete = replace(TWO, kind="delete", value=b"", given={"n1#1": 1}, seen={"n1#1": 2})
    stale = replace(_get(2, 3, 4, {"n1#1": 2}, SeenSibling(b"1", "n1#1:1")), index=2)
    missing = _get(2, 3, 4, {"n1#1": 1}, SeenSibling(b"1", "n1#1:1"))
    gone = [replace(final, dots=("n1#1:2",)) for final in END]
    assert "C6" in _found(ONE, delete, stale, finals=gone)
    assert "C6" not in _found(ONE, delete, replace(stale, session="b"), finals=gone)
    assert {"C1", "C5"} <= _found(ONE, TWO, missing)
    assert "C1" not in _found(ONE, TWO, replace(missing, session="b"))


def test_c22_a_call_of_a_register_or_counter_ends_within_its_time() -> None:
    register = RegisterCall("a", "cas", KEY, 1.0, returned=2.05, outcome="unknown", timeout_s=1.0)
    counter = MergingCall("a", "counter", "count", KEY, 1.0, timeout_s=1.0, given_up=1.5)
    other = MergingCall("a", "counter", "get", KEY, 1.0, returned=60.0)
    history = History(registers=[register], merging=[counter, other])
    assert list(check_errors(history)) == []
    register.returned, counter.given_up = 2.2, 2.2
    assert [found.property for found in check_errors(history)] == ["C22", "C22"]
    register.returned, counter.given_up = None, None  # they hang, and nobody gives them up
    history.registers.append(RegisterCall("b", "get", KEY, 60.0, returned=61.0, outcome="ok"))
    assert ["had no answer" in found.story for found in check_errors(history)] == [True, True]


def test_c1_a_buffered_write_outlives_a_kill_and_not_a_power_cut() -> None:
    buffered = replace(ONE, is_synced=False, is_buffered=True)
    history = History([buffered], [Final(KEY, "n2", {}, ())], crashed={"n1": [2.0]})
    assert "C1" in {found.property for found in check_all(history)}
    history.power_cuts = {"n1": [2.0]}
    assert check_all(history) == []


def test_c1_a_memory_write_that_one_holder_keeps_is_known_in_the_end() -> None:
    lines = tuple(ReceiptLine(node, "owner", "memory") for node in ("n1", "n2"))
    memory = replace(ONE, is_synced=False, replicas=lines)
    missed = _get(1, 4, 5, {}, session="b")
    history = History([memory, missed], [Final(KEY, "n3", {}, ())], crashed={"n1": [2.0]})
    assert [found.operations for found in check_all(history)] == [(0,)], "the read may miss it, owners not"
    history.crashed["n2"] = [9.0]
    assert check_all(history) == []
