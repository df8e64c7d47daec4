"""Which release of Ringmill this process runs, and which code of it."""

from __future__ import annotations

import os
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["code_below", "own_code", "own_version"]

_ROOMS: Final = ("cluster", "node")  # what a node runs: another client alone is no other code


def own_version() -> str:
    """The version of the installed distribution; "unknown" where the source is used without one."""
    try:
        return version("ringmill")
    except PackageNotFoundError:
        return "unknown"


def own_code() -> str:
    """Twelve hex digits that differ between any two states of the code of nodes, as it is on the disk now; ""
    where it cannot be read.  It takes some ten milliseconds."""
    return code_below(Path(__file__).parents[2])


def code_below(folder: Path) -> str:
    """Twelve hex digits that name the state of the code of nodes below `folder`; "" if it cannot be read."""
    digest, found = sha256(), 0
    try:
        for room in _ROOMS:
            for parent, below, files in os.walk(folder / room):
                below.sort()
                for name in sorted(each for each in files if each.endswith(".py")):
                    path = Path(parent, name)
                    content = path.read_bytes()
                    digest.update(b"%s\0%d\0" % (os.fsencode(path.relative_to(folder)), len(content)))
                    digest.update(content)
                    found += 1
    except OSError:
        return ""
    return digest.hexdigest()[:12] if found else ""
