"""One job while it runs: what its coordinator tells of it, and who is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, TypeVar

from chaos.jobs.comparing import hidden_beside
from chaos.jobs.job_nodes import JobNodes
from ringmill.client.jobs.job_values import JobState

__all__ = ["JobScene"]

LOOK_EVERY_S: Final = 0.002
Found = TypeVar("Found")


@dataclass(slots=True)
class JobScene:
    """`state` is the newest that was told; `chance` draws the moment of a fault, and whom it befalls."""

    nodes: JobNodes
    job: str
    output: Path
    inputs: Sequence[str]  # the folders that its maps read
    chance: Random
    state: JobState | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def coordinator(self) -> str:
        """Who coordinates it by its newest state; "" before the first."""
        return "" if self.state is None else self.state.node

    def other_node(self) -> str:
        """One that does not coordinate the job."""
        return self.chance.choice([name for name in self.nodes.names if name != self.coordinator])

    def has_reached(self, link: int, share: float) -> bool:
        """Whether this share of the maps is done; of a chain, of those behind this number of stages."""
        if self.state is None or not self.coordinator:
            return False
        if self.state.chain is not None and self.state.chain.over < link:
            return False
        maps = next((one for one in self.state.present_stages if one.name.startswith("map")), None)
        return maps is not None and maps.total > 0 and maps.done >= share * maps.total

    def has_staged(self) -> bool:
        """Whether a part of an output lies in the hidden folder beside that of the job."""
        with suppress(OSError):  # folders come and go
            return any(next(each.rglob("part-*"), None) is not None for each in hidden_beside(self.output))
        return False

    async def when(self, look: Callable[[], Found | None]) -> Found | None:
        """What `look` finds at last; None when the job is over first.  It looks in a thread: a step of a few
        milliseconds would be over before a busy loop has its turn."""
        return await asyncio.to_thread(self._look_on, look)

    def _look_on(self, look: Callable[[], Found | None]) -> Found | None:
        while not self.is_over.is_set():
            if (found := look()) is not None:
                return found
            time.sleep(LOOK_EVERY_S)
        return None
