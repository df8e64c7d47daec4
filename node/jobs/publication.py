"""Makes a job's output visible, and ends with a certain answer only.

An error of outcome "unknown" says that the output may show: the commit is repeated until it returns, however
long that takes, because a job that is told as failed may not show and one that is told as done may not
vanish.  An error of outcome "failed" says that nothing shows: one that may pass is met a few times before the
job fails by it.

Rule J10: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from ringmill.cluster.errors import CorruptData, InvalidArgument, JobFailed, RingmillError
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.job_step_runner import JobStepRunner

__all__ = ["publish"]

_MAX_FAILURES: Final = 8
_STAYS: Final = (InvalidArgument, CorruptData, JobFailed)
"""An output that is there or too large, a path that may not be written, a part that is gone: the same
tomorrow."""


async def publish(
    job_steps: JobStepRunner,
    spec: JobSpec,
    parts: Sequence[StagedPart],
    *,
    may_show: bool = False,
    delayed: Callable[[RingmillError], None],
) -> None:
    """Returns when the output shows for certain; raises RingmillError when it certainly does not.

    `may_show` says that a former coordinator may have done some of it.  `delayed` hears of each error that
    the commit is repeated after.
    """
    for failures in count(1):
        try:
            await job_steps.publish(spec, parts, again=may_show)
        except RingmillError as error:
            if _is_certain(error, failures):
                raise
            may_show = may_show or error.outcome != "failed"
            sometimes("a commit is repeated")
            delayed(error)
        else:
            return
        await asyncio.sleep(failure_pause_s(f"{spec.job}.{failures}", failures))


def _is_certain(error: RingmillError, failures: int) -> bool:
    if error.outcome != "failed":
        return False
    return isinstance(error, _STAYS) or failures >= _MAX_FAILURES
