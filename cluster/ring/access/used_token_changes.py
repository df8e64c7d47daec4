"""What a change of the topology does to the join tokens that are used up: one is added, old ones go.

No epoch is made only to forget them: they leave by the next one, whatever it is for.  Pure.
Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

from dataclasses import replace

from ringmill.cluster.errors import Conflict
from ringmill.cluster.ring.access.used_tokens import MAX_USED_TOKENS, UsedToken
from ringmill.cluster.ring.topology import Topology

__all__ = ["used_up", "without_over"]


def used_up(following: Topology, token: UsedToken, now_s: float) -> Topology:
    """A next document that uses the token up.  Raises Conflict when there is no room to remember it."""
    kept = without_over(following, now_s)
    if len(kept.used_tokens) >= MAX_USED_TOKENS:
        raise Conflict(
            f"{MAX_USED_TOKENS} join tokens were used whose time is not over, more cannot be remembered",
            hint="`ringmill cluster add` needs none; tokens of a shorter --ttl are forgotten sooner",
        )
    return replace(kept, used_tokens=(*kept.used_tokens, token))


def without_over(topology: Topology, now_s: float) -> Topology:
    """Without those that nobody takes any more, by a time that must not be ahead."""
    kept = tuple(each for each in topology.used_tokens if not each.is_over(now_s))
    return topology if kept == topology.used_tokens else replace(topology, used_tokens=kept)
