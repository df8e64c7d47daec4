"""The numbers of the failure detector: one profile for real networks, one for clusters on one machine.

Defaults follow memberlist (HashiCorp), which follows SWIM (Das, Gupta, Motivala 2002) and Lifeguard
(Dadgar, Phillips, Currey 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10

from ringmill.cluster.errors import InvalidArgument

__all__ = ["DEFAULT", "FAST", "Profile", "profile_named"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Times in seconds, for a healthy node; an unhealthy one stretches interval and timeout."""

    interval_s: float = 1.0  # between two probes
    timeout_s: float = 0.5  # of a direct probe, and again of the indirect ones
    indirect: int = 3  # helpers asked when a direct probe fails
    suspicion_multiplier: float = 4.0
    confirmations: int = 3  # independent accusers that shorten a suspicion as far as it goes
    gossip_s: float = 0.2  # between two rounds of messages that only carry news, while there is some
    fanout: int = 3  # members each such round tells
    retransmit_multiplier: int = 4
    claims_per_message: int = 16
    full_exchange_s: float = 30.0
    health_ceiling: int = 8  # worst local health: interval and timeout are stretched up to 9-fold

    def suspicion_s(self, members: int, confirmations: int) -> float:
        """How long a suspect among `members` has to refute, after this number of independent confirmations.

        4 x log10(members + 1) x interval without any; each one shortens it by a smaller step (Lifeguard,
        section 4.2), down to two intervals, in which a refutation still gets round.
        """
        longest = self.suspicion_multiplier * log10(members + 1) * self.interval_s
        shortest = min(longest, 2 * self.interval_s)
        reachable = min(self.confirmations, members - 2)  # neither the suspect nor the first accuser
        if reachable < 1:
            return longest
        progress = log10(min(confirmations, reachable) + 1) / log10(reachable + 1)
        return longest - (longest - shortest) * progress

    def retransmissions(self, members: int) -> int:
        """How many messages carry one claim before it is taken to be known everywhere."""
        return self.retransmit_multiplier * ceil(log10(members + 1))


DEFAULT = Profile()
FAST = Profile(interval_s=0.6, timeout_s=0.2, suspicion_multiplier=2.0, gossip_s=0.1)
"""For clusters on one machine: a killed node is seen within 2 s.

A node whose process has ended is probed as soon as its connections break, so probes are needed for stopped
processes only, and one every 0.6 s is enough (docs/decisions/probes-are-seldom-as-breaks-are-told.md).
"""


def profile_named(name: str) -> Profile:
    """Raises InvalidArgument for anything but "default" and "fast"."""
    match name:
        case "default":
            return DEFAULT
        case "fast":
            return FAST
    raise InvalidArgument(f"there is no profile {name[:80]!r}", hint="there are: default, fast")
