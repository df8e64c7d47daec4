"""`ringmill backup …`: the table of verbs on backups of the whole cluster."""

from __future__ import annotations

from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb

__all__ = ["backup"]

backup = LazyGroup(
    "backup",
    {
        "create": Verb("ringmill.client.cli.backup.backup_create:create", "make a backup of the cluster"),
        "list": Verb("ringmill.client.cli.backup.backup_places:list_backups", "list backups", NO_CLUSTER),
        "verify": Verb(
            "ringmill.client.cli.backup.backup_verify:verify", "check every block of a backup", NO_CLUSTER
        ),
        "restore": Verb(
            "ringmill.client.cli.backup.restore_verb:restore", "bring a backup into an empty cluster"
        ),
        "delete": Verb("ringmill.client.cli.backup.backup_places:delete", "delete a backup", NO_CLUSTER),
        "prune": Verb(
            "ringmill.client.cli.backup.backup_places:prune",
            "delete the tables that no backup names",
            NO_CLUSTER,
        ),
    },
    "Back up the cluster while it runs, to a folder or a URL, and restore it into one of any size.",
)
