"""The token of one client as text: `rm1_ID_SECRET`.

The id is public, 16 hexadecimal digits; the secret has 256 random bits, 64 of them.  The text is shown once,
to whoever issues the token.  The cluster keeps keys made of the secret (cluster/access/scram.py).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ringmill.cluster.access.scram import SECRET_BYTES
from ringmill.cluster.errors import InvalidArgument

__all__ = ["PREFIX", "TOKEN_ID", "ClientToken", "client_token"]

PREFIX: Final = "rm1_"
TOKEN_ID: Final = re.compile(r"[0-9a-f]{16}")
_FORM: Final = re.compile(r"rm1_([0-9a-f]{16})_([0-9a-f]{64})")


class ClientToken(NamedTuple):
    """A client's token in its parts; `secret` has SECRET_BYTES."""

    id: str
    secret: bytes

    @property
    def text(self) -> str:
        assert len(self.secret) == SECRET_BYTES
        return f"{PREFIX}{self.id}_{self.secret.hex()}"


def client_token(text: str) -> ClientToken | None:
    """The client's token that this text is; None for the cluster's own token.

    Raises InvalidArgument for one that begins as a client's and is not whole.  The secret is not shown.
    """
    if not text.startswith(PREFIX):
        return None
    if (match := _FORM.fullmatch(text)) is None:
        raise InvalidArgument(
            f"a token that begins with {PREFIX} has the form {PREFIX}ID_SECRET, with 16 and 64 hexadecimal "
            f"digits; this one has {len(text)} characters and is damaged",
            hint="give it as `ringmill auth issue` printed it",
        )
    return ClientToken(match[1], bytes.fromhex(match[2]))
