"""The limits of one request.  The client checks them first, the node in any case.

The numbers are a promise to users (docs/guarantees.md, "Limits"; a job's reducers: docs/formats/job.md).
The storage engine has wider limits of its own (node/storage/batch.py), as it stores an object with all its
siblings as one value.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "MAX_CLIENT_MESSAGE_BYTES",
    "MAX_CONTEXT_ACTORS",
    "MAX_CONTEXT_BYTES",
    "MAX_ENTRIES",
    "MAX_KEY_BYTES",
    "MAX_OBJECT_BYTES",
    "MAX_REDUCERS",
    "MAX_SCAN_BYTES",
    "MAX_SCAN_ITEMS",
    "MAX_SEEN_DOTS",
    "MAX_SPLIT_MIB",
    "MAX_TIMEOUT_S",
    "MAX_TOTAL",
    "MAX_TTL_MS",
    "MAX_VALUE_BYTES",
    "MAX_WEIGHT",
    "MOST_ROUNDS",
    "TASK_MEMORY_MIB",
]

MAX_KEY_BYTES: Final = 1024
MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_CONTEXT_BYTES: Final = 64 * 1024
MAX_CONTEXT_ACTORS: Final = 3000
"""As many as fit in a context: each start of an owner that has written a key is one."""
MAX_SEEN_DOTS: Final = 10_500
"""For one key, as many as fit in a session's 256 KiB: a dot has 16 characters at least, and a time."""
MAX_TTL_MS: Final = 100 * 365 * 24 * 3600 * 1000
MAX_TIMEOUT_S: Final = 60.0
MAX_REDUCERS: Final = 4096
MAX_SPLIT_MIB: Final = 1 << 14
MAX_WEIGHT: Final = 1000
TASK_MEMORY_MIB: Final = (64, 1 << 20)
"""The least and the most memory that a job may give a task, in MiB."""
MOST_ROUNDS: Final = 1000
"""The most rounds of a job that reads what it has written."""
MAX_SCAN_ITEMS: Final = 1000
MAX_SCAN_BYTES: Final = 1024 * 1024
MAX_OBJECT_BYTES: Final = 4 * 1024 * 1024
MAX_CLIENT_MESSAGE_BYTES: Final = 4 * 1024 * 1024 + MAX_VALUE_BYTES
MAX_ENTRIES: Final = 1000
"""The most entries of a set or a map: each change reads and writes the whole object."""
MAX_TOTAL: Final = (1 << 63) - 1
"""Neither one amount nor all that one actor has added to a counter may be further from 0."""
