"""How a node on a new host becomes a member: it shows a join token to its seeds, until one lets it in.

It has its disk id by then, and listens at nothing.  The answer brings the cluster's secret, and proves that
it comes from a member.  What the node does when it has the secret is what any node does that belongs to no
cluster: it waits for the topology that names it.

Rule T11: docs/protocol/topology.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ports import Entropy, FileSystem
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.topology import Member
from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinToken
from ringmill.cluster.wire.stubs.members_pb2 import JoinRequest, JoinResponse, NewMember
from ringmill.node.identity.identity import Identity, read_identity
from ringmill.node.joining.asking_seeds import OpenSeed, SeedLink

__all__ = ["disk_of", "secret_by_token"]

_JOIN: Final = "/ringmill.v1.Members/Join"
_TIMEOUT_S: Final = 10.0
_AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)


async def disk_of(folder: str, node: NodeId, *, files: FileSystem, entropy: Entropy) -> DiskId:
    """The disk id of a data folder, which gets one if it has none.

    Raises InvalidArgument when the folder belongs to another node; BlockingIOError when a node runs on it;
    CorruptData; OSError.
    """
    former = read_identity(files, folder)
    if former is not None and former.node == node:
        return former.disk
    files.mkdir(f"{folder}/store")
    lock = files.lock(f"{folder}/store/LOCK")
    try:
        return (await Identity.open(folder, node, files=files, entropy=entropy)).disk
    finally:
        lock.release()


async def secret_by_token(
    token: JoinToken, newcomer: Member, seeds: Sequence[str], *, open_seed: OpenSeed, entropy: Entropy
) -> str:
    """The cluster's secret, once a seed has made this node a member.  Asks until then.

    Raises PermissionDenied or InvalidArgument when all seeds refuse the token or the node: who listens at one
    address need not be a member.
    """
    links = {address: open_seed(address) for address in seeds}
    try:
        return await _asked_in_turn(token, newcomer, links, entropy)
    finally:
        for link in links.values():
            await link.close()


async def _asked_in_turn(
    token: JoinToken, newcomer: Member, links: Mapping[str, SeedLink], entropy: Entropy
) -> str:
    logged: dict[str, str] = {}
    while True:
        refusals: list[RingmillError] = []
        for address, link in links.items():
            try:
                secret = await _ask(token, newcomer, link, entropy)
            except RingmillError as error:
                if isinstance(error, PermissionDenied | InvalidArgument):
                    refusals.append(error)
                if logged.get(address) != error.message:
                    logged[address] = error.message
                    _log.info("seed %s has not let %s join: %s", address, newcomer.id, error.message)
                continue
            _log.info("%s joined the cluster by %s", newcomer.id, address)
            return secret
        if len(refusals) == len(links):
            raise refusals[-1]
        await next_beat(_AGAIN_S)


async def _ask(token: JoinToken, newcomer: Member, link: SeedLink, entropy: Entropy) -> str:
    nonce = entropy.random_bytes("join nonce", JOIN_NONCE_BYTES)
    member = NewMember(
        node=newcomer.id,
        disk=newcomer.disk,
        address=newcomer.address,
        zone=newcomer.zone,
        weight=newcomer.weight,
        reads=FORMAT_VERSION,
    )
    request = JoinRequest(
        grant=token.grant.encode(),
        nonce=nonce,
        member=member,
        proof=token.request_proof(nonce, newcomer),
        timeout_ms=int(_TIMEOUT_S * 1000),
    )
    answer = await link.unary(_JOIN, request, JoinResponse, _TIMEOUT_S)
    return token.open(answer.sealed, nonce)
