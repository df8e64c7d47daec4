"""Proofs by a client's own token, as link_proofs.py makes them by the cluster's.

The client has the secret.  A node has the keys that the topology document keeps of it: these let the node
check the client's proof and prove itself, and not act as the client.  Whoever has neither can do nothing.

Rule F8: docs/protocol/requests.md.  Layout: docs/formats/frame.md, "Proofs".
"""

from __future__ import annotations

import hmac
from typing import Any

from ringmill.cluster.access.client_token import ClientToken, client_token
from ringmill.cluster.access.scram import KeptKeys, client_proof, is_client_proof, kept_keys
from ringmill.cluster.adapters.network.link_proofs import CALLER, WITH_CLIENT, LinkSecret, sealed_bytes
from ringmill.cluster.ports import Entropy

__all__ = ["HeldToken", "KeptToken", "secret_of"]

_OF_CLIENTS = (WITH_CLIENT[0], CALLER)


def secret_of(token: str, entropy: Entropy) -> LinkSecret:
    """What a client that was given this token proves itself by.

    Raises InvalidArgument for a client's token that is damaged.
    """
    own = client_token(token)
    return LinkSecret(token, entropy) if own is None else HeldToken(own, entropy)


class KeptToken(LinkSecret):
    """A node's side: it checks what the client shows, and shows that it has the server key."""

    def __init__(self, token_id: str, keys: KeptKeys, entropy: Entropy) -> None:
        super().__init__(token_id, entropy)
        self.token_id = token_id
        self._keys = keys

    def _sealed(self, kind: str, *parts: Any) -> bytes:
        assert kind not in _OF_CLIENTS, "a node cannot make a client's proof"
        return self._keys.signature(self._message(kind, *parts))

    def _is_sealed(self, given: bytes, kind: str, *parts: Any) -> bool:
        if kind in _OF_CLIENTS:
            return is_client_proof(given, self._keys, self._message(kind, *parts))
        return hmac.compare_digest(given, self._sealed(kind, *parts))

    def _message(self, kind: str, *parts: Any) -> bytes:
        return sealed_bytes(kind, *parts, self.token_id)


class HeldToken(KeptToken):
    """The client's side, which has the secret and so can do both."""

    def __init__(self, token: ClientToken, entropy: Entropy) -> None:
        super().__init__(token.id, kept_keys(token.secret), entropy)
        self._secret = token.secret

    def _sealed(self, kind: str, *parts: Any) -> bytes:
        if kind in _OF_CLIENTS:
            return client_proof(self._secret, self._message(kind, *parts))
        return super()._sealed(kind, *parts)
