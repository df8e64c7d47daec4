"""Where the time of a job went: computed from what its attempts took."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringmill.client.cli.jobs.explain.explain_page import explanation_page
from ringmill.client.cli.jobs.explain.explain_text import explanation_lines
from ringmill.client.cli.jobs.job_document import job_document, job_fields
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.slot_rows import slot_rows
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.heavy_keys import KeyShare
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary
from ringmill.cluster.printable import printable

MB = 1_000_000


def ran(name: str, node: str, began_s: float, ended_s: float | None, **facts: Any) -> AttemptSummary:
    task, _, number = name.partition(".")
    stage = task.partition("-")[0]
    taken_s = (ended_s or began_s) - began_s
    told: dict[str, Any] = {"state": "done", "counts": True, "bytes_in": MB} | facts
    figures = AttemptFigures({"start": 0.25, stage: max(0.0, taken_s - 0.5)}, taken_s / 2, 50 << 20)
    return AttemptSummary(
        task=task, attempt=int(number), node=node, began_s=began_s, ended_s=ended_s, figures=figures, **told
    )


def job(seconds: float, *, state: str = "SUCCEEDED", maps: int, reduces: int, **facts: Any) -> JobState:
    stages = (StageSummary("map", maps, 0, 0, 0, 0), StageSummary("reduce", reduces, 0, 0, 0, 0))
    return JobState(
        job="count-1", name="m:job", state=state, node="n1", output="/out", seconds=seconds, submitted_at=0.0,
        stages=stages, tasks=(), retried=0, records={}, counters={}, events=(), error=None, **facts,
    )  # fmt: skip


ATTEMPTS = [
    ran("map-0.1", "n1", 0.5, 2.0),
    ran("map-1.1", "n2", 0.5, 3.0, state="failed", counts=False, cause="UserError", error="KeyError: 'a'"),
    ran("map-1.2", "n1", 3.5, 5.0),
    ran("map-2.1", "n1", 2.0, 3.5),
    ran("map-3.1", "n2", 3.0, 4.5),
    ran("reduce-0.1", "n1", 5.0, 6.0),
    ran("reduce-1.1", "n2", 5.0, 9.0, bytes_in=8 * MB),
    ran("reduce-2.1", "n1", 6.0, 7.0),
]


def test_the_critical_path_leads_back_from_the_end_slot_by_slot() -> None:
    told = JobExplanation.of(job(9.5, maps=4, reduces=3), ATTEMPTS)
    steps = [(step.what, step.attempts, step.last, step.began_s, step.ended_s) for step in told.critical_path]
    assert steps == [
        ("plan", 0, "", 0.0, 0.5),
        ("map", 3, "map-1.2", 0.5, 5.0),
        ("reduce", 1, "reduce-1.1", 5.0, 9.0),
        ("commit", 0, "", 9.0, 9.5),
    ]


def test_stages_add_up_their_attempts_and_name_the_longest() -> None:
    maps, reduces = JobExplanation.of(job(9.5, maps=4, reduces=3), ATTEMPTS).stages
    assert (maps.tasks, maps.done, maps.attempts, maps.seconds) == (4, 4, 5, 4.5)
    assert (maps.slot_seconds, maps.longest_task, maps.median_task_s) == (8.5, "map-1.1", 1.5)
    assert maps.phases_s == {"start": 1.25, "map": 6.0, "other": 1.25}
    assert (reduces.bytes_in, reduces.cpu_s, reduces.peak_bytes) == (10 * MB, 3.0, 50 << 20)


def test_slots_are_as_many_as_attempts_at_once() -> None:
    told = JobExplanation.of(job(9.5, maps=4, reduces=3), ATTEMPTS)
    assert told.slots.slots == 2
    assert told.slots.by_node == {"n1": 6.5 / 8.5, "n2": 8.0 / 8.5}
    side_by_side = [ran("map-0.1", "n1", 0, 2), ran("map-1.1", "n1", 1, 3), ran("map-2.1", "n1", 2, 3)]
    assert [[each.task for each in row.attempts] for row in slot_rows(side_by_side)] == [
        ["map-0", "map-2"],
        ["map-1"],
    ]


def test_slow_for_its_bytes_is_a_straggler_and_large_is_not() -> None:
    usual = [ran(f"map-{n}.1", "n1", n, n + 1) for n in range(5)]
    large = ran("map-5.1", "n1", 5, 9, bytes_in=4 * MB)
    slow = ran("map-6.1", "n2", 0, 2.5)
    hanging = ran("map-7.1", "n2", 2.5, None, state="running", counts=False)
    told = JobExplanation.of(
        job(9, state="RUNNING", maps=8, reduces=1), [*usual, large, slow, hanging]
    ).stragglers
    assert [(each.attempt, each.seconds, each.usual_s) for each in told] == [
        ("map-7.1", 6.5, 1.0),
        ("map-6.1", 2.5, 1.0),
    ]


def test_records_that_were_set_aside_are_not_a_partition_of_the_keys() -> None:
    state = replace(job(9.5, maps=4, reduces=4), records={"bad": 0})
    told = JobExplanation.of(state, [*ATTEMPTS, ran("reduce-3.1", "n1", 7.0, 7.5, bytes_in=0)]).skew
    assert told == JobExplanation.of(job(9.5, maps=4, reduces=3), ATTEMPTS).skew
    alone = replace(job(9.5, maps=4, reduces=2), records={"bad": 0})
    attempts = [ran("reduce-0.1", "n1", 5.0, 6.0), ran("reduce-1.1", "n1", 6.0, 6.5, bytes_in=0)]
    assert JobExplanation.of(alone, attempts).skew is None


def test_skew_waste_and_failures_are_reported() -> None:
    failures = (FailureGroup("UserError", "KeyError: 'a'", 47, "map-1.1"),)
    told = JobExplanation.of(job(9.5, maps=4, reduces=3, failures=failures), ATTEMPTS)
    assert told.skew is not None
    assert (told.skew.largest_task, told.skew.times_median, told.skew.share) == ("reduce-1", 8.0, 0.8)
    assert (told.wasted_attempts, told.wasted_s, told.wasted_share) == (1, 2.5, 2.5 / 14.5)
    lines = explanation_lines(told)
    assert len(lines) < 40
    assert "  x47 UserError: KeyError: 'a', first: map-1.1" in lines
    assert (
        "skew: the largest partition, of reduce-1, has 8.0 MB, 8.0 times the median of 1.0 MB, 80% of all"
        in lines
    )


def test_one_partition_with_everything_is_not_told_as_times_nothing() -> None:
    attempts = [ran(f"reduce-{n}.1", "n1", n, n + 1.0, bytes_in=0 if n else 288) for n in range(4)]
    lines = explanation_lines(JobExplanation.of(job(4.0, maps=1, reduces=4), attempts))
    assert (
        "skew: the largest partition, of reduce-0, has 288 B, where most have nothing, 100% of all" in lines
    )


def test_a_job_that_has_just_begun_is_explained_too() -> None:
    waiting = JobExplanation.of(job(1.5, state="PENDING", maps=0, reduces=0), [])
    assert [(step.what, step.seconds) for step in waiting.critical_path] == [("plan", 1.5)]
    running = JobExplanation.of(
        job(3.0, state="RUNNING", maps=2, reduces=2),
        [ran("map-0.1", "n1", 0.5, None, state="running", counts=False)],
    )
    assert (running.skew, running.wasted_attempts, running.critical_path[-1].ended_s) == (None, 0, 3.0)
    assert len(explanation_lines(waiting)) < len(explanation_lines(running)) < 40


def test_the_end_has_waited_for_an_attempt_that_was_lost_with_its_node() -> None:
    lost = ran("map-0.1", "n1", 0.0, 3.0, state="cancelled", counts=False, cause="LostNode")
    loser = ran("map-0.3", "n3", 4.0, 9.0, state="cancelled", counts=False)
    told = JobExplanation.of(
        job(10.0, maps=1, reduces=0), [lost, ran("map-0.2", "n2", 3.0, 9.0), loser]
    ).critical_path
    assert [(step.what, step.attempts, step.last, step.began_s) for step in told] == [
        ("map", 2, "map-0.2", 0.0),
        ("commit", 0, "", 9.0),
    ]


def test_a_killed_job_has_waited_for_what_ran_then() -> None:
    ended = [
        ran("map-0.1", "n1", 0.5, 2.0),
        ran("reduce-0.1", "n1", 2.0, 8.0, state="cancelled", counts=False),
    ]
    told = JobExplanation.of(job(8.0, state="KILLED", maps=1, reduces=1), ended)
    assert [(step.what, step.last) for step in told.critical_path] == [
        ("plan", ""),
        ("map", "map-0.1"),
        ("reduce", "reduce-0.1"),
    ]
    lines = explanation_lines(told)
    assert "  a task        6.0 s the longest (reduce-0.1)" in lines, "none is done, so none is usual"
    assert "wasted: 1 attempt that does not count, 6.0 s, 80% of the time of all" in lines


def test_a_job_of_many_failures_and_steps_stays_on_one_screen() -> None:
    failures = tuple(FailureGroup("UserError", "x" * 5000, 9, f"map-{n}.1") for n in range(20))
    many = [ran(f"map-{n}.1", f"n{n % 30}", n, n + (9 if n % 7 else 90)) for n in range(300)]
    lines = explanation_lines(JobExplanation.of(job(400, maps=300, reduces=0, failures=failures), many))
    assert len(lines) < 40
    assert max(map(len, lines)) < 1000


def test_the_page_is_one_file_in_which_nothing_of_users_runs() -> None:
    hostile = "</pre><script>alert(1)</script>\x1b[2J\udcff\"'"
    failed = ran("map-0.1", "n1", 0.0, 1.0, state="failed", counts=False, cause="UserError", error=hostile)
    failures = (FailureGroup("UserError", hostile, 1, "map-0.1"),)
    told = JobExplanation.of(job(9.5, maps=4, reduces=3, failures=failures), [*ATTEMPTS, failed])
    page = explanation_page(told, hostile)
    page.encode("utf-8")
    assert "<script" not in page and "\x1b" not in page and "&lt;script&gt;" in page
    assert page.count("<rect") == len(ATTEMPTS) + 1
    assert "http" not in page and "src=" not in page, "it needs no network"
    for line in explanation_lines(told):
        assert printable(line).isprintable()


def test_heavy_keys_and_where_maps_ran_are_told() -> None:
    placed = [
        ran("map-0.1", "n1", 0, 1, is_near=True),
        ran("map-1.1", "n2", 0, 1, is_near=False),
        ran("map-1.2", "n1", 0, 1, is_near=True, state="cancelled", counts=False),
        ran("map-2.1", "n1", 1, 2, is_near=True),
        ran("map-3.1", "n1", 1, 2),
    ]
    heavy = tuple(KeyShare(f"'k\x1b{n}'", "reduce-1", 40_000 - n, 0.4) for n in range(4))
    told = JobExplanation.of(job(2, maps=4, reduces=3, heavy_keys=heavy), placed)
    assert [(stage.near, stage.placed) for stage in told.stages] == [(2, 3), (0, 0)]
    lines = explanation_lines(told)
    assert "  locality      2 of 3 ran on a node that has their input, 67%" in lines
    at = lines.index("  key 'k\x1b0' has 40% of all records, 40,000, in reduce-1")
    assert lines[at + 3] == "  and 1 more"
    assert "\x1b" not in explanation_page(told, "words")
    document = told.to_dict()
    assert [key["records"] for key in document["heavy_keys"]] == [40_000, 39_999, 39_998, 39_997]
    assert document["stages"][0]["near"] == 2
    files = JobExplanation.of(job(2, maps=4, reduces=3), ATTEMPTS)
    assert not any("locality" in line or "key" in line for line in explanation_lines(files))


def test_nodes_that_offer_no_slots_are_told_with_what_they_lack() -> None:
    lacks = tuple(NodeLack(f"n{n}", f"its machine has {n} MiB\x1b of 8192 MiB left") for n in range(2, 7))
    state = job(2, maps=4, reduces=3, lacks=lacks)
    lines = explanation_lines(JobExplanation.of(state, ATTEMPTS))
    at = lines.index("  n2 offers none: its machine has 2 MiB\x1b of 8192 MiB left")
    assert lines[at - 1].startswith("slots: ")
    assert lines[at + 3] == "  and 2 more"
    assert "  and 1 more" in explanation_lines(JobExplanation.of(replace(state, lacks=lacks[:4]), ATTEMPTS))
    document = JobExplanation.of(state, ATTEMPTS).to_dict()
    assert document["lacks"][0] == {"node": "n2", "why": lacks[0].why}
    assert job_document(state)["lacks"] == state.to_dict()["lacks"] == document["lacks"]
    assert ("no slots", f"n6: {lacks[-1].why}") in job_fields(state)
