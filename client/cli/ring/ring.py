"""`ringmill ring …`: the table of verbs on the ring."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["ring"]

ring = LazyGroup(
    "ring",
    {
        "show": Verb("ringmill.client.cli.ring.ring_show:show_ring", "who owns how much"),
        "plan": Verb(
            "ringmill.client.cli.ring.ring_plan:plan_ring", "what a change of the members would move"
        ),
        "diff": Verb("ringmill.client.cli.ring.ring_diff:diff_epochs", "what changed between two epochs"),
    },
    "See who owns which partitions, and what changes of the members would move.",
)
