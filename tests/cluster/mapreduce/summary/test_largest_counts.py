"""What a job counts can be kept and told, however much each task counts."""

from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.cluster.limits import MAX_REDUCERS
from ringmill.cluster.mapreduce.api.chains.stages import StagePlace
from ringmill.cluster.mapreduce.context import MAX_COUNT
from ringmill.cluster.mapreduce.files.splits import MAX_SPLITS
from ringmill.cluster.mapreduce.machine.stage_totals import RunningCounts
from ringmill.cluster.mapreduce.outputs import MOST_COUNTED, ReduceOutput
from ringmill.cluster.mapreduce.summary import job_summary

MOST = (1 << 63) - 1


def test_the_sums_of_a_stage_fit_into_a_journal_and_a_message() -> None:
    tasks = MAX_SPLITS + MAX_REDUCERS + 1
    assert tasks * MAX_COUNT <= MOST
    assert tasks * MOST_COUNTED <= MOST


def test_the_sums_of_many_stages_are_reported_as_the_most_that_there_is_room_for() -> None:
    records = dict.fromkeys(("map_in", "map_out", "reduce_in", "reduce_out"), MOST)
    stage = SimpleNamespace(link=0, counters={"up": MOST, "down": -MOST, "few": 2}, records=records)
    chain = SimpleNamespace(place=StagePlace(0, 0, 2), over=[stage, stage], counts=RunningCounts())
    machine: Any = SimpleNamespace(
        maps=[], reduces=[], chain=chain, plan=SimpleNamespace(bad_records=0), bad_records=0
    )
    assert job_summary._counters(machine) == {"up": MOST, "down": -MOST, "few": 4}
    assert job_summary._records(machine) == records


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ({str(name): 1 for name in range(1001)}, "1001 counters; a task may have 1000"),
        ({"x" * 201: 1}, "the name of a counter has 201 characters"),
    ],
)
def test_an_attempt_that_tells_of_more_than_a_task_may_count_is_refused(
    counters: dict[str, int], said: str
) -> None:
    output = ReduceOutput(0, "part", 1, 2, counters, 3, 4, 5)
    with pytest.raises(ValueError, match=said):
        ReduceOutput.from_wire(output.to_wire())
