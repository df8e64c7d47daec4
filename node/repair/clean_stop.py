"""Records whether a start ended with no work left, so that the next one need not compare its copies.

Rule H8: docs/protocol/repair.md.  The identity's note at a stop is another one: it lists the store's files
(I6, node/identity/).
"""

from __future__ import annotations

import logging
from typing import Final

from ringmill.cluster.errors import DiskFull, Overloaded, Unavailable
from ringmill.cluster.ids import Start
from ringmill.node.contracts import ControlState

__all__ = ["note_clean_stop", "was_clean"]

_STORED_AS: Final = "stopped"  # the number of the last start that stopped in order
_log = logging.getLogger(__name__)


async def note_clean_stop(control: ControlState, start: Start) -> None:
    """Record a clean stop; if that fails, the next start compares its copies."""
    try:
        await control.put_synced(_STORED_AS, str(start.number).encode())
    except (DiskFull, Overloaded, Unavailable) as error:
        _log.warning("this stop is not noted as clean: %s", error)


def was_clean(control: ControlState, start: Start) -> bool:
    """Whether the previous start ended with a clean stop, or there was none."""
    return start.number == 1 or control.get(_STORED_AS) == str(start.number - 1).encode()
