"""`ringmill keyspace …`: the table of verbs on keyspaces."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["keyspace"]

keyspace = LazyGroup(
    "keyspace",
    {
        "create": Verb("ringmill.client.cli.keyspace.keyspace_verbs:create", "make a keyspace"),
        "list": Verb("ringmill.client.cli.keyspace.keyspace_verbs:list_keyspaces", "list the keyspaces"),
        "show": Verb("ringmill.client.cli.keyspace.keyspace_verbs:show", "show the settings of one"),
        "alter": Verb("ringmill.client.cli.keyspace.keyspace_verbs:alter", "change its defaults"),
        "drop": Verb("ringmill.client.cli.keyspace.keyspace_verbs:drop", "take a keyspace away"),
    },
    "Make, change and drop keyspaces: named sets of keys with settings of their own.",
)
