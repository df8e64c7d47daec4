"""What is checked of a change of the members before it is decided, and once nothing moves any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ring.plans.topology_plan import TopologyPlan

__all__ = ["check_fillable", "check_made"]


def check_fillable(plan: TopologyPlan) -> None:
    """Raise InvalidArgument when too few owners of a partition are up and whole to fill its new copy."""
    if plan.short:
        raise InvalidArgument(
            f"{len(plan.short)} partitions could not be filled: {', '.join(plan.missing)} must be up",
            hint="bring them back first; `ringmill cluster status` shows them",
        )


def check_made(states: Mapping[str, str], add: Collection[str], remove: Collection[str]) -> None:
    """Raise Conflict when the members are as before: somebody gave the plan up, or it gave itself up as a
    node that joins stayed away (rule M7).

    `states` are those of the members by the topology; nothing moves.
    """
    came = [node for node in add if node not in states]
    stayed = [node for node in remove if states.get(node) == "up"]
    if came or stayed:
        who = f"{came[0]} is no member" if came else f"{stayed[0]} is still a member"
        raise Conflict(
            f"the plan was given up: {who}", hint="`ringmill cluster status` shows whether a node is away"
        )
