"""What a job counts can be kept and told, however much each task counts."""

from types import SimpleNamespace
from typing import Any

from ringmill.cluster.limits import MAX_REDUCERS
from ringmill.cluster.mapreduce.context import MAX_COUNT
from ringmill.cluster.mapreduce.files.splits import MAX_SPLITS
from ringmill.cluster.mapreduce.outputs import MOST_COUNTED
from ringmill.cluster.mapreduce.summary import job_summary

MOST = (1 << 63) - 1


def test_the_sums_of_a_stage_fit_into_a_journal_and_a_message() -> None:
    tasks = MAX_SPLITS + MAX_REDUCERS + 1
    assert tasks * MAX_COUNT <= MOST
    assert tasks * MOST_COUNTED <= MOST


def test_the_sums_of_many_stages_are_told_as_the_most_that_there_is_room_for() -> None:
    records = dict.fromkeys(("map_in", "map_out", "reduce_in", "reduce_out"), MOST)
    stage = SimpleNamespace(counters={"up": MOST, "down": -MOST, "few": 2}, records=records)
    chain = SimpleNamespace(place=SimpleNamespace(passed=2), over=[stage, stage])
    machine: Any = SimpleNamespace(
        maps=[], reduces=[], chain=chain, plan=SimpleNamespace(bad_records=0), bad_records=0
    )
    assert job_summary._counters(machine) == {"up": MOST, "down": -MOST, "few": 4}
    assert job_summary._records(machine) == records
