"""The ten best players: one register, changed by whoever has a better score.

A score that makes no difference costs a read.  One that does is a `cas` of the version that was read, tried
again when somebody else was faster.
"""

import json

from ringmill import Client, Conflict

PLACES = 10


def submit(db: Client, board: str, player: str, score: int) -> bool:
    """Whether the score is among the best, and better than the player's own before it."""
    while True:
        present = db.registers.get(f"board:{board}")
        best: dict[str, int] = json.loads(present.value) if present.value else {}
        if best.get(player, score - 1) >= score:
            return False
        ranked = sorted({**best, player: score}.items(), key=lambda each: (-each[1], each[0]))[:PLACES]
        if (player, score) not in ranked:
            return False
        try:
            value = json.dumps(dict(ranked)).encode()
            db.registers.cas(f"board:{board}", value, expect_version=present.version)
        except Conflict:
            continue
        return True


def top(db: Client, board: str) -> list[tuple[str, int]]:
    """Player and score, best first."""
    found = db.registers.get(f"board:{board}").value
    return [] if found is None else list(json.loads(found).items())
