"""What is decided about a job before its tasks run.  A pure value."""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.cluster.mapreduce.api.chains.stages import LinkRounds
from ringmill.cluster.mapreduce.files.splits import Split

__all__ = ["JobPlan"]


@dataclass(frozen=True, slots=True)
class JobPlan:
    """The tasks of a job, or of a stage of it."""

    job: str
    splits: tuple[Split, ...]
    reducers: int
    notes: tuple[str, ...] = ()  # lines about the plan for people; the story begins with them
    bad_records: int = 0  # that may be set aside; if any, they are the last partition
    links: tuple[LinkRounds, ...] = ()  # of a chain, of which this is the first stage
