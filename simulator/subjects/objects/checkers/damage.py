"""C16: damage on one node costs nobody a write that the sound owners can take.

While bits have turned on one owner's disk, no put fails because somebody could not read its own copy: another
owner coordinates.  None fails because too few owners acked either, as long as w sound owners are there: two
of three at w = 2, and one of one at w = 1.  At w = N nothing is promised, as the damaged owner may have to
refuse its ack.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History

__all__ = ["check_beside_damage"]


def check_beside_damage(history: History) -> Iterator[Violation]:
    for beside in history.beside_damage:
        write = history.operations[beside.index]
        could_be_met = beside.w <= beside.sound_owners
        if write.error.startswith("CORRUPT_DATA") or (
            could_be_met and write.error.startswith("QUORUM_NOT_REACHED")
        ):
            yield Violation(
                "C16",
                write.key,
                f"a put at w = {beside.w} with {beside.sound_owners} sound owners ended as {write.outcome}: "
                f"{write.error}",
                (beside.index,),
            )
