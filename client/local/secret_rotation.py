"""Rotates the secret of a cluster in the file of its token, and asks the nodes how far they are.

    SECRET  ->  SECRET, next NEW  ->  NEW, former SECRET  ->  NEW

The first command goes to the third state, a second one to the last.  No step is taken before every member has
proved that it knows the secret that the step relies on: a node proves by each secret that it accepts, so who
dials it with one alone hears whether it does.  Nodes read the file again by themselves.

Rule F9: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from ringmill.client.dialling.node_links import open_link
from ringmill.client.routing.links import TOPOLOGY
from ringmill.cluster.access.cluster_secret import ClusterSecret, cluster_secret
from ringmill.cluster.adapters.files.private_files import distrust, open_private, replace_private
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import Conflict, InvalidArgument, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.wire.stubs.topology_pb2 import GetTopologyRequest

__all__ = ["SecretRotation"]

_ASK_S: Final = 2.0
_AGAIN_S: Final = 0.2
NODES_LOOK_S: Final = 1.5  # a little longer than a node takes to read its file again
_LONGEST_FILE: Final = 4096
_GO_ON: Final = "then the same command goes on"


@dataclass(frozen=True)
class SecretRotation:
    """The file at `path`, and the `members` that are to follow it, by name: where each listens.

    Those in `away` need not answer: they read this file when they start.
    """

    path: str
    members: Mapping[str, str]
    within_s: float
    away: Collection[str] = ()
    tls: TlsFiles | None = None
    tell: Callable[[str], None] = field(default=lambda _: None)

    async def begin(self) -> None:
        """Have all members use a new secret and accept the former one.  It goes on where it was left.

        Raises Unavailable, which names the members that do not know the new one; PermissionDenied and
        InvalidArgument for a file that is not trusted or holds no cluster's token; OSError.
        """
        secret = self._read()
        if secret.former:
            return
        if not secret.next:
            secret = ClusterSecret(secret.current, next=secrets.token_urlsafe(32))
            self._write(secret)
            self.tell(f"wrote a next secret to {self.path}")
        await self._until_all(secret.next, self._lacks, _GO_ON)
        self._write(ClusterSecret(secret.next, former=secret.current))
        self.tell("all members know it, and use it now")
        await asyncio.sleep(NODES_LOOK_S)

    async def finish(self) -> None:
        """Have all members refuse the former secret.

        Raises Conflict when no rotation has begun; Unavailable, which names the members that still take the
        former one, or do not know the new one; and as `begin`.
        """
        secret = self._read()
        if not secret.former:
            raise Conflict(
                "not all members were seen to know the next secret yet"
                if secret.next
                else "nothing is rotated",
                hint="`ringmill auth rotate-secret`, without --finish, does that first",
            )
        await self._until_all(secret.current, self._lacks, _GO_ON)
        self._write(ClusterSecret(secret.current))
        await self._until_all(secret.former, self._still_takes, "then the former one opens nothing more")

    async def _until_all(self, secret: str, why: Callable[[str, bool | None], str], then: str) -> None:
        """Ask until `why` finds nothing wrong with any member.  Raises Unavailable with what it has found."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.within_s
        while True:
            answers = await asyncio.gather(*(self._knows(at, secret) for at in self.members.values()))
            found = [
                reason
                for name, knows in zip(self.members, answers, strict=True)
                if (reason := why(name, knows))
            ]
            if not found:
                return
            if loop.time() > until:
                raise Unavailable(
                    f"the secret is not rotated yet: {'; '.join(found)}",
                    detail={"reasons": found, "changed": f"{self.path} was written"},
                    hint=f"each node needs {self.path} as it is now in the place of its --token-file, which "
                    f"it reads again within a second; {then}",
                    outcome="failed",
                )
            await asyncio.sleep(_AGAIN_S)

    def _lacks(self, name: str, knows: bool | None) -> str:
        if knows or (knows is None and name in self.away):
            return ""
        return f"{name} does not answer" if knows is None else f"{name} does not know the new one"

    def _still_takes(self, name: str, knows: bool | None) -> str:
        if knows is None and name not in self.away:
            return f"{name} does not answer"
        return f"{name} still takes the former one" if knows else ""

    async def _knows(self, address: str, secret: str) -> bool | None:
        """Whether who listens there proves that it knows this secret; None when nobody answers."""
        link = open_link(address, token=secret, tls=self.tls)
        try:
            await link.call(TOPOLOGY, GetTopologyRequest(), _ASK_S)
        except RingmillError as error:
            return False if error.detail.get("proved") is False else None
        finally:
            await link.close()
        return True

    def _read(self) -> ClusterSecret:
        try:
            why = distrust(self.path)
            with os.fdopen(open_private(self.path, os.O_RDONLY), encoding="ascii") as file:
                text = file.read(_LONGEST_FILE)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"the token file {self.path} cannot be read: {error}") from error
        if why:
            raise PermissionDenied(f"{self.path} is not trusted: {why}")
        return cluster_secret(text)

    def _write(self, secret: ClusterSecret) -> None:
        replace_private(self.path, f"{secret.text}\n".encode(), is_synced=True)
