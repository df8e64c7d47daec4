"""`ringmill coordinator …`: the table of verbs on the node that coordinates jobs."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["coordinator"]

coordinator = LazyGroup(
    "coordinator",
    {
        "status": Verb(
            "ringmill.client.cli.jobs.coordinator_verbs:coordinator_status",
            "show which node coordinates jobs",
        ),
        "handover": Verb(
            "ringmill.client.cli.jobs.coordinator_verbs:handover", "have another node coordinate jobs"
        ),
    },
    "See and move the coordination of jobs.",
)
