"""The job that a healed core of the nodes is asked for while the rest stays broken: it has to succeed.

Jobs that a node of the rest coordinated go on, and come first.  Nothing is asked where a node of the rest
goes on to seem up, as it may be given tasks, and before the others can have noticed the silent ones.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.simulator.faults.core import SEEN_DOWN
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.subjects.jobs.sessions import JobSession, PlannedJob
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.world.node_process import SHARED
from ringmill.simulator.world.seeds import SeededEntropy
from ringmill.simulator.world.world import World

__all__ = ["CORE_CLIENT", "ask_core", "can_be_asked", "plan_of_core"]

CORE_CLIENT: Final = "core-jobs"
_NOTICED_S: Final = 10.0
_TIMEOUT_S: Final = 5.0
_ENDS_WITHIN_S: Final = 400.0


def plan_of_core(plan: PlannedJob) -> PlannedJob:
    """A job that does the work of `plan` under its own name and writes its own output."""
    spec = replace(plan.spec, job="job-core", output=f"{SHARED}/out-core", overwrite=False)
    return replace(
        plan, spec=spec, pause_s=_NOTICED_S, kill_after_s=None, pause_after_s=None, is_repeated=False
    )


def can_be_asked(world: World) -> bool:
    return set(world.history.core.rest.values()) <= SEEN_DOWN


async def ask_core(world: World, plan: PlannedJob, bundle: Bundle, record: JobRecord) -> None:
    """Submit the job and watch it to its end; the history says why it did not succeed."""
    process, transport = world.client(CORE_CLIENT)
    core = {at: node for at, node in world.addresses.items() if node not in world.history.core.rest}
    entropy = SeededEntropy(world.seed, f"client/{CORE_CLIENT}")
    session = JobSession(transport, core, entropy, _TIMEOUT_S, directory=Within)
    work = world.loop.spawn(process, session.work_off(plan, bundle, record))
    await asyncio.wait([work], timeout=plan.pause_s + _ENDS_WITHIN_S)
    if record.shortfall:
        world.history.core.failed_jobs.append(f"{record.job}: {record.shortfall}")
