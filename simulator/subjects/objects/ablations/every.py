"""All safeguards that keys and values rely on, each to be switched off by itself.

Each ablation names the rule that it breaks and the code that it patches, from outside and for the time of a
run only: production code has no switches.  With any of them the checkers must find a violation within 1,000
seeds; how many it took is in docs/testing.md, written by scripts/ablations.py.
"""

from __future__ import annotations

from typing import Final

from ringmill.simulator.subjects.objects.ablations.durability import DURABILITY
from ringmill.simulator.subjects.objects.ablations.healing import HEALING
from ringmill.simulator.subjects.objects.ablations.hints import HINTS
from ringmill.simulator.subjects.objects.ablations.identity import IDENTITY
from ringmill.simulator.subjects.objects.ablations.overload import OVERLOAD
from ringmill.simulator.subjects.objects.ablations.progress import PROGRESS
from ringmill.simulator.subjects.objects.ablations.quorums import QUORUMS
from ringmill.simulator.subjects.objects.ablations.time import TIME
from ringmill.simulator.subjects.objects.ablations.versions import VERSIONS

__all__ = ["OBJECT_ABLATIONS"]

OBJECT_ABLATIONS: Final = (
    *DURABILITY, *IDENTITY, *QUORUMS, *VERSIONS, *HINTS, *HEALING, *TIME, *PROGRESS, *OVERLOAD,
)  # fmt: skip
