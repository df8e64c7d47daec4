"""How a coordinator that has released its lease has another member take it at once."""

from __future__ import annotations

import logging
from typing import Final

from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["JOB_TAKE", "TAKE_TIMEOUT_S", "have_others_take"]

JOB_TAKE: Final = "job.take"
TAKE_TIMEOUT_S: Final = 5.0
_log = logging.getLogger(__name__)


async def have_others_take(world: Surroundings) -> None:
    """Returns once another member has the jobs.  Raises Unavailable when none takes them."""
    for node in world.members_up():
        if node == world.node:
            continue
        try:
            await world.ask(node, JOB_TAKE, b"", TAKE_TIMEOUT_S)
        except RingmillError as error:
            _log.warning("%s does not take the jobs over: %s", node, error)
        else:
            return
    raise Unavailable("no other member takes the jobs over now; this one goes on", outcome="failed")
