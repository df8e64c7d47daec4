"""What went through a job as a whole: what its first stage read, and what its last one wrote.

Pure: computed from a job's state machine, from attempts that count.
"""

from __future__ import annotations

from typing import NamedTuple

from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.stage_totals import records_of
from ringmill.cluster.mapreduce.machine.task_state import Task
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput

__all__ = ["NO_FLOW", "JobFlow", "flow_of"]


class JobFlow(NamedTuple):
    """Nothing that the stages of a chain write for each other is in it.  Bytes are those of the files, as
    they are compressed; records that were set aside are no output.  The output is 0 until the job has
    succeeded."""

    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0


NO_FLOW = JobFlow()


def flow_of(machine: JobMachine) -> JobFlow:
    """The job as it stands."""
    first = next(iter(machine.chain.over), None)
    reduces = machine.reduces[:-1] if machine.plan.bad_records else machine.reduces
    records = records_of(machine.maps, reduces)
    if first is None:
        read, size = records["map_in"], sum(task.size for task in machine.maps if task.winner is not None)
    else:
        read, size = first.records["map_in"], first.map_bytes
    if machine.state != "SUCCEEDED":
        return JobFlow(read, size)
    written = records["reduce_out" if reduces else "map_out"]
    return JobFlow(read, size, written, sum(map(_written, reduces or machine.maps)))


def _written(task: Task) -> int:
    output = task.winner.output if task.winner is not None else None
    if isinstance(output, ReduceOutput):
        return output.size
    return sum(each.length for each in output.partitions) if isinstance(output, MapOutput) else 0
