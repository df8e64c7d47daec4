"""Who a certificate is for: the names in it that nodes and clients look at.

A certificate holds one URI: `ringmill://CLUSTER/NODE` for a node, `ringmill://CLUSTER/client/NAME` for a
client.  That of a node also has the name `NODE.CLUSTER.ringmill`, which other nodes ask for when they dial.
gRPC for Python lets a caller name the host that it expects, and shows it nothing else of the certificate.
So a node is bound to its name and not to its host; clients, which know addresses, check the host.

Rule F7: docs/protocol/requests.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["CLUSTER_NAME", "Holder", "holder_of"]

CLUSTER_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")  # a label of a host name
_SCHEME: Final = "ringmill://"
_CLIENT: Final = "client/"


class Holder(NamedTuple):
    """Whose certificate it is: a node of a cluster, or a client of it."""

    cluster: str
    name: str
    is_node: bool = True

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.cluster}/{'' if self.is_node else _CLIENT}{self.name}"

    @property
    def host(self) -> str:
        """The name that a node's certificate has, whatever machine it runs on."""
        return f"{self.name}.{self.cluster}.ringmill"

    def __str__(self) -> str:
        return self.name if self.is_node else f"{_CLIENT}{self.name}"


def holder_of(uris: Iterable[str]) -> Holder | None:
    """Whom the URIs of a certificate name; None unless exactly one of them is ours."""
    ours = [uri.removeprefix(_SCHEME) for uri in uris if uri.startswith(_SCHEME)]
    if len(ours) != 1:
        return None
    cluster, _, name = ours[0].partition("/")
    holder = Holder(cluster, name.removeprefix(_CLIENT), not name.startswith(_CLIENT))
    return holder if cluster and holder.name and "/" not in holder.name else None
