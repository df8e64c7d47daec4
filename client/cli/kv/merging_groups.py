"""`ringmill counters`, `ringmill sets` and `ringmill maps`: values that merge by themselves."""

from __future__ import annotations

from typing import Final

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["counters", "maps", "sets"]

_HOME: Final = "ringmill.client.cli.kv.merging_verbs"

counters = LazyGroup(
    "counters",
    {
        "add": Verb(f"{_HOME}:count", "add to a counter", "token_file"),
        "get": Verb(f"{_HOME}:show_count", "print a count", "token_file"),
    },
    "Counters of a keyspace of policy counter.",
)
sets = LazyGroup(
    "sets",
    {
        "add": Verb(f"{_HOME}:add_element", "add an element", "token_file"),
        "remove": Verb(f"{_HOME}:remove_element", "remove an element", "token_file"),
        "get": Verb(f"{_HOME}:show_elements", "print the elements", "token_file"),
    },
    "Sets of a keyspace of policy set.",
)
maps = LazyGroup(
    "maps",
    {
        "put": Verb(f"{_HOME}:put_entry", "set an entry", "token_file"),
        "remove": Verb(f"{_HOME}:remove_entry", "remove an entry", "token_file"),
        "get": Verb(f"{_HOME}:show_entries", "print the entries", "token_file"),
    },
    "Maps of a keyspace of policy map.",
)
