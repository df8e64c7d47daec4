"""What runs of loads have to meet now and then (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["LOAD_MARKS"]

LOAD_MARKS: Final = (
    "a window of records is loaded again",
    "a record that was put before is found, and put no more",
    "a keyspace is replaced",
    "a keyspace that was replaced is found so",
    "a snapshot is lost while a job reads it",
    "a client hears of a newer topology by an answer",
)
