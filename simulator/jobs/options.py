"""What a run of jobs is made of, unless it is asked for otherwise."""

from __future__ import annotations

from typing import Final

from ringmill.simulator.jobs.faults import JOB_KINDS
from ringmill.simulator.options import RunOptions

__all__ = ["JOB_OPTIONS"]

JOB_OPTIONS: Final = RunOptions(nodes=3, sessions=2, partitions=16, faults=JOB_KINDS)
