"""How far this kernel can contain a task: a value that people read, and that a node can insist on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.adapters.containment.landlock import landlock_version
from ringmill.cluster.adapters.containment.seccomp import has_seccomp

__all__ = ["ContainmentLevel", "level_of_kernel"]

_WITH_SIGNALS: Final = 6  # of Landlock: before it, a task can signal what else its user runs


@dataclass(frozen=True, slots=True)
class ContainmentLevel:
    """The version of Landlock, 0 for none, and whether there are seccomp filters.  As text: what is shown."""

    landlock: int
    seccomp: bool

    def __str__(self) -> str:
        parts = [f"landlock {self.landlock}"] if self.landlock else []
        parts += ["seccomp"] if self.seccomp else []
        return " + ".join(parts) or "rlimits only"

    @property
    def lack(self) -> str:
        """What is missing to all that Ringmill can enforce; "" for nothing."""
        missing = []
        if self.landlock < _WITH_SIGNALS:
            missing.append(f"Landlock {_WITH_SIGNALS} (Linux 6.12)")
        if not self.seccomp:
            missing.append("seccomp filters")
        return " and ".join(missing)


def level_of_kernel() -> ContainmentLevel:
    return ContainmentLevel(landlock_version(), has_seccomp())
