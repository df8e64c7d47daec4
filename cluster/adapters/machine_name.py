"""By which name the nodes of one machine know that they share it, and how much of it a process may use.

Containers of one machine have one name, as they share its kernel.  Source: proc_sys_kernel(5), "random".
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

__all__ = ["machine_name", "own_cores"]

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def machine_name(boot: Path = _BOOT) -> str:
    """Another one after each start of the machine; "" where the system does not tell."""
    try:
        told = boot.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return sha256(told.encode()).hexdigest()[:16] if told else ""


def own_cores() -> int:
    """The cores that this process may use: in a container or under taskset they are fewer than there are."""
    has_set = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_set else os.cpu_count() or 1
