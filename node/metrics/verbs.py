"""What a request is called in metrics, whichever carrier it came by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["KEY_VERBS", "verb_of"]

_NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kv.put": "put",
        "Kv/Put": "put",
        "kv.get": "get",
        "Kv/Get": "get",
        "kv.delete": "delete",
        "Kv/Delete": "delete",
        "kv.touch": "touch",
        "Kv/Touch": "touch",
        "kv.cas": "cas",
        "Registers/Cas": "cas",
        "kv.incr": "incr",
        "Registers/Incr": "incr",
        "kv.register": "read_register",
        "Registers/Read": "read_register",
        "Scans/Page": "scan",
        "Kv/Watch": "watch",
        "Kv/WatchPrefix": "watch_prefix",
        "Kv/Locate": "locate",
        "Explain/Get": "explain",
    }
)

KEY_VERBS: Final = ("put", "get", "delete", "touch", "cas", "incr", "read_register", "scan")
"""Those that are timed: the others wait for news, or are asked by people."""


def verb_of(method: str) -> str:
    """ "put" of "kv.put" and of "ringmill.v1.Kv/Put"; "jobs_list" of "ringmill.v1.Jobs/List"."""
    row = method.rpartition("ringmill.v1.")[2]
    named = _NAMED.get(row)
    return named or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row).replace("/", "_").lower()
