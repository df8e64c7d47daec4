"""Programs that this machine has, or else, where apt-get is, Debian's packages unpacked under build/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["BUILD", "environment_with"]

BUILD: Final = Path(__file__).resolve().parent.parent.parent / "build" / "compat"
_PATIENCE_S: Final = 180.0


def environment_with(program: str, packages: Sequence[str]) -> dict[str, str]:
    """The environment in which the program runs.  Its PATH does not have it when it cannot be had."""
    here = dict(os.environ)
    if shutil.which(program) or not shutil.which("apt-get"):
        return here
    folder = BUILD / program
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not list(folder.glob("*.deb")):
            download = ["apt-get", "download", "-q", *packages]
            subprocess.run(download, cwd=folder, check=True, capture_output=True, timeout=_PATIENCE_S)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder / "unpacked"], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return here
    libraries = ":".join(map(str, (folder / "unpacked" / "usr" / "lib").glob("*-linux-gnu*")))
    return {**here, "PATH": f"{here['PATH']}:{folder}/unpacked/usr/bin", "LD_LIBRARY_PATH": libraries}
