"""Finds out who a client is, on a session and with a plain call, and proves the node to it.

A session is proved once, by its first frame.  A plain call carries its proof: it is made for the method, the
address that was dialled and the node's challenge, which is another one at each start of the node.  So a proof
that a process got hold of opens no other method and no other node.  Nor does it open this node once that
process can listen at its address: then this start of the node has ended.  The node keeps nothing for it.

Rules F6, F8 and F9: docs/protocol/requests.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.cluster.access.callers import UNKNOWN_CALLER, Caller, Permissions, Standing
from ringmill.cluster.access.raw_tokens import raw_caller, wrong_token
from ringmill.cluster.adapters.network.access.token_secrets import KeptToken
from ringmill.cluster.adapters.network.handshake import (
    CALLER_PROOF_KEY,
    CHALLENGE_KEY,
    NONCE_KEY,
    PROOF_KEY,
    TOKEN_ID_KEY,
    Introduction,
    proof_in,
)
from ringmill.cluster.adapters.network.link_proofs import LinkSecret, one_spelling
from ringmill.cluster.errors import PermissionDenied, Unavailable
from ringmill.cluster.ports import Entropy

__all__ = ["ClientDoor"]


class ClientDoor:
    """The door of one node, which clients dial at `addresses`.  `token` is the cluster's; "" has none."""

    def __init__(self, node: str, token: str, addresses: tuple[str, ...], entropy: Entropy) -> None:
        self._node = node
        self._token = token
        self._secret = LinkSecret(token, entropy)
        self.addresses = tuple(dict.fromkeys(map(one_spelling, addresses)))
        self._entropy = entropy
        self._challenge = self._secret.nonce()
        self.permissions: Permissions | None = None
        """Decides what clients may ask; without it they may ask all."""

    def change(self, token: str) -> None:
        """The cluster's token is this one from now on."""
        self._token = token
        self._secret.change(token)

    def secret_for(self, introduction: Introduction) -> LinkSecret:
        """The secret by which the client of this session, which gave a nonce, is to prove itself.

        Raises PermissionDenied for a token that is not known.
        """
        return self._secret_of(introduction.token_id)

    def standing(self, introduction: Introduction) -> Standing | None:
        """What the client of this session may do, once it has proved what it has to."""
        if self.permissions is None:
            return None
        if not introduction.nonce or not self._secret:
            return self.permissions.standing(UNKNOWN_CALLER)
        return self.permissions.standing(Caller(introduction.token_id, not introduction.token_id))

    def prove(self, metadata: Mapping[str, str], path: str) -> Mapping[str, str]:
        """What the answer to a plain call of the method at `path` begins with, given the texts of the call.

        It is a proof and the challenge for later calls, if the caller asks for them and this node has the
        cluster's token (rule F6).  Raises PermissionDenied for a token that is not known.
        """
        nonce = metadata.get(NONCE_KEY, "")
        if not nonce or not self._secret:
            return {}
        secret = self._secret_of(metadata.get(TOKEN_ID_KEY, ""))
        proofs = b"".join(secret.call_proof(nonce, path, address) for address in self.addresses)
        return {PROOF_KEY: proofs.hex(), CHALLENGE_KEY: self._challenge}

    def caller_of(self, metadata: Mapping[str, str], path: str) -> Caller:
        """Who makes a plain call of the method at `path` with these texts.

        Raises PermissionDenied for a token or a proof that is wrong; Unavailable, "failed", for one that was
        made for an earlier start of this node, so that the caller asks again.
        """
        proof = proof_in(metadata.get(CALLER_PROOF_KEY, ""))
        if not proof or not self._secret:
            return raw_caller(self._token, metadata, self.permissions)
        if metadata.get(CHALLENGE_KEY, "") != self._challenge:
            raise Unavailable(f"{self._node} was started again: the proof of the caller is too old")
        token_id, nonce = metadata.get(TOKEN_ID_KEY, ""), metadata.get(NONCE_KEY, "")
        secret = self._secret_of(token_id)
        shown = (secret.is_caller_proof(proof, nonce, path, each, self._challenge) for each in self.addresses)
        if not any(shown):
            raise wrong_token(f"token {token_id}" if token_id else "the cluster's token")
        return Caller(token_id, not token_id)

    def _secret_of(self, token_id: str) -> LinkSecret:
        if not token_id:
            return self._secret
        if self.permissions is None:
            raise PermissionDenied(
                f"{self._node} knows no tokens of clients yet", detail={"token": "unknown"}
            )
        return KeptToken(token_id, self.permissions.keys_of(token_id), self._entropy)
