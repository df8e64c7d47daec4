"""The text of a cluster's token: the secret in force and, while it is rotated, another one that is accepted.

    SECRET               the one in force: proofs, seals and join tokens are made by it
    next SECRET          will be in force; accepted already, so that all nodes know it before any uses it
    former SECRET        was in force; still accepted, so that nobody is refused who does not know the new one

The first line is there in any case, and one of the other two during a rotation.  Nodes, and clients that read
the file, know all secrets in it, so any two of them that are at most one step apart have one in common.

Rule F9: docs/protocol/requests.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = [
    "LONGEST_SECRET",
    "ClusterSecret",
    "HeldSecret",
    "accepted_secrets",
    "cluster_secret",
    "told_to_newcomers",
]

LONGEST_SECRET: Final = 1024
_SECRET: Final = re.compile(r"[!-~]{1,1024}")
_OTHER: Final = re.compile(r"(next|former) ([!-~]{1,1024})")


@dataclass(frozen=True, slots=True)
class ClusterSecret:
    """The secrets of one cluster: `current`, and at most one of the other two."""

    current: str
    next: str = ""
    former: str = ""

    def __repr__(self) -> str:
        return "<secret of a cluster>"

    @property
    def accepted(self) -> tuple[str, ...]:
        """All that open the cluster, the one in force first."""
        return tuple(filter(None, (self.current, self.next, self.former)))

    @property
    def text(self) -> str:
        """As it stands in the file, without the last line end."""
        others = [f"next {self.next}"] if self.next else [f"former {self.former}"] if self.former else []
        return "\n".join([self.current, *others])


def cluster_secret(text: str) -> ClusterSecret:
    """The secrets in the text of a token file.

    Raises InvalidArgument, which does not show them, for a text of another form.
    """
    current, *others = text.strip().splitlines() or [""]
    found = [_OTHER.fullmatch(line) for line in others]
    if len(others) > 1 or None in found or not _SECRET.fullmatch(current):
        raise InvalidArgument(
            f"the text of a token is one line of up to {LONGEST_SECRET} printable characters without spaces, "
            "and while the secret is rotated a second one, `next SECRET` or `former SECRET`"
        )
    secret = ClusterSecret(current, **{match[1]: match[2] for match in found if match})
    if len(set(secret.accepted)) < len(secret.accepted):
        raise InvalidArgument("a token names the same secret twice")
    return secret


def accepted_secrets(text: str) -> tuple[str, ...]:
    """All secrets in a text that was checked before, the one in force first; none in ""."""
    current, *others = text.splitlines() or [""]
    return tuple(filter(None, (current, *(line.partition(" ")[2] for line in others))))


def told_to_newcomers(text: str) -> dict[str, str]:
    """What a join token brings, by the secret that it is made of, in a text that was checked before.

    Who knows a secret can make tokens of it, and it may be rotated because somebody does.  So none brings a
    newer secret, and once the newer one is in force, none of the former one brings anything (T11).
    """
    current, *others = text.splitlines()
    kind, _, other = others[0].partition(" ") if others else ("", "", "")
    return {current: current, other: text} if kind == "next" else {current: text}


class HeldSecret:
    """The token of a running node, which others are told of when it changes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def change(self, text: str) -> None:
        """Hold this one from now on.

        Raises InvalidArgument for one that has no secret in common with the present one: nobody would be left
        who knows this node.
        """
        if set(accepted_secrets(text)).isdisjoint(accepted_secrets(self.text)):
            raise InvalidArgument(
                "it has no secret in common with the one in force, so the other nodes would refuse this one",
                hint="`ringmill auth rotate-secret` changes it in steps; a restart takes what is there",
            )
        self.text = text
        for listener in self._listeners:
            listener(text)
