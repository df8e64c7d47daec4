"""What the nodes of a cluster have sent in frames, where they count (counting/sitecustomize.py)."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

__all__ = ["NodeCounts", "counting_environment"]

COUNTING = Path(__file__).resolve().parent.parent / "counting"
NUMBERS = struct.Struct("<QQQQ")


def counting_environment(folder: Path, checkout: Path) -> Mapping[str, str]:
    """In which nodes of a checkout count into `folder`."""
    path = os.pathsep.join([str(checkout), str(COUNTING)])
    return {"BENCH_FRAME_COUNTS": str(folder), "PYTHONPATH": path}


class NodeCounts:
    """The numbers of all nodes together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> list[int]:
        """Frames of calls, calls, frames of answers, answers."""
        together = [0, 0, 0, 0]
        for file in self._folder.iterdir():
            numbers = NUMBERS.unpack(file.read_bytes())
            together = [sum(pair) for pair in zip(together, numbers, strict=True)]
        return together
