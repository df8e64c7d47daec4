"""`ringmill counters`, `ringmill sets` and `ringmill maps`: values that merge by themselves."""

from __future__ import annotations

from typing import Final

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["counters", "maps", "sets"]

_HOME: Final = "ringmill.client.cli.kv.merging_verbs"

counters = LazyGroup(
    "counters",
    {
        "add": Verb(f"{_HOME}:count", "add to a counter"),
        "get": Verb(f"{_HOME}:show_count", "print a count"),
    },
    "Counters of a keyspace of policy counter.",
)
sets = LazyGroup(
    "sets",
    {
        "add": Verb(f"{_HOME}:add_element", "add an element"),
        "remove": Verb(f"{_HOME}:remove_element", "remove an element"),
        "get": Verb(f"{_HOME}:show_elements", "print the elements"),
    },
    "Sets of a keyspace of policy set.",
)
maps = LazyGroup(
    "maps",
    {
        "put": Verb(f"{_HOME}:put_entry", "set an entry"),
        "remove": Verb(f"{_HOME}:remove_entry", "remove an entry"),
        "get": Verb(f"{_HOME}:show_entries", "print the entries"),
    },
    "Maps of a keyspace of policy map.",
)
