"""Whether a start was left with nothing undone, so that the next one need not compare what it holds.

Rule H8: docs/protocol/repair.md.  What the identity notes at a stop is another thing: the files of the store
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
    """Where it cannot be noted the next start compares."""
    try:
        await control.put_synced(_STORED_AS, str(start.number).encode())
    except (DiskFull, Overloaded, Unavailable) as error:
        _log.warning("this stop is not noted as clean: %s", error)


def was_clean(control: ControlState, start: Start) -> bool:
    """The start before this one was left so, or there was none."""
    return start.number == 1 or control.get(_STORED_AS) == str(start.number - 1).encode()
