"""`ringmill keyspace …`: the table of verbs on keyspaces."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["keyspace"]

keyspace = LazyGroup(
    "keyspace",
    {
        "create": Verb("ringmill.client.cli.keyspace.keyspace_verbs:create", "make a keyspace", "token_file"),
        "list": Verb(
            "ringmill.client.cli.keyspace.keyspace_verbs:list_keyspaces", "list the keyspaces", "token_file"
        ),
        "show": Verb(
            "ringmill.client.cli.keyspace.keyspace_verbs:show", "show the settings of one", "token_file"
        ),
        "alter": Verb(
            "ringmill.client.cli.keyspace.keyspace_verbs:alter", "change its defaults", "token_file"
        ),
        "drop": Verb(
            "ringmill.client.cli.keyspace.keyspace_verbs:drop", "take a keyspace away", "token_file"
        ),
    },
    "Make, change and drop keyspaces: named sets of keys with settings of their own.",
)
