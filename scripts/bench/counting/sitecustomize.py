"""Counts the frames that a node sends, for a benchmark that asks for it (`kv.py --count-frames`).

Python imports this module by itself at the start of a process when its folder is in PYTHONPATH.  In a node
it wraps the two functions that seal frames, before anybody has imported them, and keeps four numbers in a
file named after the process: frames of calls, calls, frames of answers, answers.  So the product counts
nothing, and the benchmark that steers by processor time runs without it.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from typing import Any

NUMBERS = struct.Struct("<QQQQ")


def count_into(path: str) -> None:
    """Wrap what seals frames; each frame writes the numbers anew."""
    from ringmill.cluster.wire import frames

    with open(path, "wb+") as file:
        file.write(bytes(NUMBERS.size))
        file.flush()
        memory = mmap.mmap(file.fileno(), NUMBERS.size)
    counts = [0, 0, 0, 0]

    def wrapped(seal: Any, at: int) -> Any:
        def counted(entries: Any, *rest: Any, **named: Any) -> Any:
            counts[at] += 1
            counts[at + 1] += len(entries)
            NUMBERS.pack_into(memory, 0, *counts)
            return seal(entries, *rest, **named)

        return counted

    for at, name in ((0, "encode_operations"), (2, "encode_answers")):
        if (seal := getattr(frames, name, None)) is not None:
            setattr(frames, name, wrapped(seal, at))


if (_folder := os.environ.get("BENCH_FRAME_COUNTS")) and "ringmill.node" in sys.orig_argv:
    count_into(os.path.join(_folder, str(os.getpid())))
