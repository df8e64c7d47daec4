"""C16: damage on one node costs nobody a write.

While bits have turned on one owner's disk, two sound owners take every write at w = 2: none fails because
somebody could not read its own copy, or because too few could.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_beside_damage"]

_BY_DAMAGE = ("CORRUPT_DATA", "QUORUM_NOT_REACHED")


def check_beside_damage(history: History) -> Iterator[Violation]:
    for index in history.beside_damage:
        write = history.operations[index]
        if write.error.startswith(_BY_DAMAGE):
            yield Violation(
                "C16",
                write.key,
                f"a put with two sound owners ended as {write.outcome}: {write.error}",
                (index,),
            )
