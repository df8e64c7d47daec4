"""`ringmill auth …`: the table of verbs on the tokens of clients."""

from __future__ import annotations

from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb

__all__ = ["auth"]

auth = LazyGroup(
    "auth",
    {
        "issue": Verb("ringmill.client.cli.auth.auth_verbs:issue", "make a token for a client"),
        "list": Verb("ringmill.client.cli.auth.auth_verbs:list_tokens", "list the tokens, without secrets"),
        "revoke": Verb(
            "ringmill.client.cli.auth.auth_verbs:revoke", "end a token: its client is refused from then on"
        ),
        "require": Verb(
            "ringmill.client.cli.auth.auth_verbs:require", "say whether clients need a token, or show it"
        ),
        "new-secret": Verb(
            "ringmill.client.cli.auth.new_secret:make_secret",
            "make a secret for a cluster that is to be formed",
            NO_CLUSTER,
        ),
        "rotate-secret": Verb(
            "ringmill.client.cli.auth.rotate_secret:rotate_secret",
            "change the cluster's secret, in two steps",
        ),
    },
    "Say who may do what: tokens with a role, for clients.",
)
