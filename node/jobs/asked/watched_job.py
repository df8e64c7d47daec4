"""What whoever watches a job is told, and how often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from ringmill.cluster.errors import Unavailable
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.views import JobView

__all__ = ["views_of"]

_PAUSE_S: Final = 0.1
_PAUSE_A_TASK_S: Final = 1e-3  # a view takes some 20 us a task until it is sent


async def views_of(run: JobDriver) -> AsyncGenerator[JobView, None]:
    """A job now, then at every change (ten times a second at most, and every ms a task) until it is over.

    Raises Unavailable once another node coordinates it.
    """
    while True:
        changed = run.changed
        if run.is_given_up:
            raise Unavailable(f"job {run.spec.job} goes on with another coordinator", outcome="failed")
        view = run.view()
        yield view
        if view.is_over:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_PAUSE_S, run.tasks * _PAUSE_A_TASK_S)):
                await run.over.wait()
        await changed.wait()
