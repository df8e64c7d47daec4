"""Where a chain of jobs is, stage by stage: what is told of stages that are over, and of the present one.

Pure: computed from a job's state machine.  Numbers of stages, jobs and rounds begin with 1, as people count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.stage_totals import FinishedStage, records_of

__all__ = ["MOST_STAGES", "ChainStage", "ChainSummary", "chain_summary"]

MOST_STAGES: Final = 20
"""Of a chain that are told when they are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStage:
    """One stage: the tasks it has, the bytes that its maps read, the records that went in and came out.

    Times are seconds since the job was submitted; `ended_s` is None while it runs.  Of one that runs, records
    are those of tasks that are done.
    """

    stage: int
    job: int
    round: int
    began_s: float
    ended_s: float | None
    maps: int
    reduces: int
    bytes_in: int
    records_in: int
    records_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSummary:
    """A chain of `jobs` jobs, at the round `round` of job `job`, which has `most_rounds` at most.

    `over` stages are over; `stages` are the last 20 of them and the present one.
    """

    jobs: int
    job: int
    round: int
    most_rounds: int
    over: int
    stages: tuple[ChainStage, ...]

    def __str__(self) -> str:
        """ "stage 6, job 2 of 3, round 5 of at most 30" """
        round = f", round {self.round} of at most {self.most_rounds}" if self.most_rounds > 1 else ""
        return f"stage {self.over + 1}, job {self.job} of {self.jobs}{round}"


def chain_summary(machine: JobMachine, now: float) -> ChainSummary | None:
    """The chain as it stands; None of a job that is none."""
    chain = machine.chain
    if not chain.links:
        return None
    link, round, passed = chain.place
    return ChainSummary(
        jobs=len(chain.links),
        job=link + 1,
        round=round + 1,
        most_rounds=chain.links[link].most,
        over=passed,
        stages=(*_over(chain.over[:passed]), _present(machine, now)),
    )


def _over(over: list[FinishedStage]) -> Iterator[ChainStage]:
    told = range(max(0, len(over) - MOST_STAGES), len(over))
    for at, each in zip(told, over[told.start :], strict=True):
        yield ChainStage(
            stage=at + 1,
            job=each.link + 1,
            round=each.round + 1,
            began_s=over[at - 1].ended_at if at else 0.0,
            ended_s=each.ended_at,
            maps=each.maps,
            reduces=each.reduces,
            bytes_in=each.map_bytes,
            records_in=each.records["map_in"],
            records_out=each.records["reduce_out" if each.reduces else "map_out"],
        )


def _present(machine: JobMachine, now: float) -> ChainStage:
    link, round, passed = machine.chain.place
    reduces = machine.reduces[:-1] if machine.plan.bad_records else machine.reduces
    records = records_of(machine.maps, reduces)
    return ChainStage(
        stage=passed + 1,
        job=link + 1,
        round=round + 1,
        began_s=machine.chain.over[passed - 1].ended_at if passed else 0.0,
        ended_s=now if machine.is_over else None,
        maps=len(machine.maps),
        reduces=len(machine.reduces),
        bytes_in=sum(task.size for task in machine.maps),
        records_in=records["map_in"],
        records_out=records["reduce_out" if reduces else "map_out"],
    )
