"""Changes of who may do what: each is a function from a topology document to the next one.

None in place of a document means that the present one is as wanted, so a change that is sent again does no
harm.  Rules T1 and T2: docs/protocol/topology.md; F8: docs/protocol/requests.md.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ringmill.cluster.errors import Conflict, InvalidArgument, NotFound
from ringmill.cluster.ids import Epoch
from ringmill.cluster.ring.access.access_entries import MAX_TOKENS, OPEN_TO_ALL, Access, TokenEntry
from ringmill.cluster.ring.topology import Topology

__all__ = ["issued", "required", "revoked", "token_named", "without_access"]


def issued(
    topology: Topology, token: TokenEntry, now_s: float, surely_s: float = math.inf
) -> Topology | None:
    """With one more token; None when it is there.

    Raises InvalidArgument; Conflict when a token of this name is in force.  In a full document the tokens
    that are over make room: those that were so at `surely_s`, which no clock that is wrong has put forward,
    as what leaves the document opens nothing any more.
    """
    access = topology.access
    if (present := access.find(token.id)) is not None:
        if present.keys == token.keys:
            return None
        raise Conflict(f"there is another token with the id {token.id}", hint="issue it again")
    for each in access.tokens:
        if each.name == token.name and not each.is_over(now_s):
            raise Conflict(
                f"token {token.name!r} is in force (id {each.id}, role {each.role})",
                hint=f"`ringmill auth revoke {token.name}` ends it; or choose another name",
            )
    kept = access.tokens
    if len(kept) >= MAX_TOKENS:
        kept = tuple(each for each in kept if not each.is_over(min(now_s, surely_s)))
    if len(kept) >= MAX_TOKENS:
        raise InvalidArgument(
            f"{MAX_TOKENS} tokens are in force, more are not possible",
            hint="`ringmill auth list` shows them, `ringmill auth revoke` ends one",
        )
    return _with(topology, replace(access, tokens=(*kept, token)))


def revoked(topology: Topology, wanted: str) -> Topology | None:
    """Without force for the token of this id, or all of this name; None when none has any.  Raises NotFound.

    There are two of a name when the first has expired by the clock of the node that issued the second.  By
    other clocks it may open something yet.
    """
    token = token_named(topology.access, wanted)
    if token.is_revoked:
        return None
    tokens = tuple(
        replace(each, is_revoked=each.is_revoked or each is token or each.name == wanted != token.id)
        for each in topology.access.tokens
    )
    return _with(topology, replace(topology.access, tokens=tokens))


def required(topology: Topology, *, is_required: bool) -> Topology | None:
    """Clients without any token may, or may not, read and write; None when it is so."""
    if topology.access.is_required == is_required:
        return None
    return _with(topology, replace(topology.access, is_required=is_required))


def token_named(access: Access, wanted: str) -> TokenEntry:
    """The token of this id, else the newest of this name, one that is not revoked first.  Raises NotFound."""
    if (token := access.find(wanted)) is not None:
        return token
    named = [each for each in reversed(access.tokens) if each.name == wanted]
    if not named:
        raise NotFound(f"there is no token {wanted[:80]!r}", hint="`ringmill auth list` shows all tokens")
    return next((each for each in named if not each.is_revoked), named[0])


def without_access(topology: Topology) -> Topology:
    """What clients are given: who has a server key could pose as a node to the client that it belongs to.

    Nor have clients a use for join tokens that are used up, and those of the release before cannot read them.
    """
    if topology.access == OPEN_TO_ALL and not topology.used_tokens:
        return topology
    return replace(topology, access=OPEN_TO_ALL, used_tokens=())


def _with(topology: Topology, access: Access) -> Topology:
    following = replace(topology, epoch=Epoch(topology.epoch + 1), access=access)
    following.check()
    return following
