"""Scrubs the store from time to time: reads every block slowly, to find damage before a reader does.

The engine fences what the scrub finds, and node/repair/healing.py heals it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.node.storage.engine import Engine

__all__ = ["FIRST_S", "scrub_now_and_then"]

FIRST_S: Final = 300.0

_log = logging.getLogger(__name__)


async def scrub_now_and_then(engine: Engine, every_s: float) -> None:
    """The first time some minutes after the start, then `every_s` seconds after the last; 0 is never."""
    pause_s = min(FIRST_S, every_s)
    while every_s > 0:
        await asyncio.sleep(pause_s)
        try:
            damages = await engine.verify()
        except (OSError, RingmillError) as error:
            _log.warning("the scrub of the store failed: %s", error)
        else:
            for damage in damages:
                _log.warning("scrubbing found damage: %s", damage)
            _log.info("scrubbed the store, %d damages", len(damages))
        pause_s = every_s
