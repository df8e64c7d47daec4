"""Tokens and cursors as text that a person can pass on: base64url without padding."""

from __future__ import annotations

import base64
import binascii

from ringmill.cluster.errors import InvalidArgument

__all__ = ["parsed_token", "token_text"]


def token_text(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def parsed_token(text: str) -> bytes:
    """The bytes of a text that `token_text` made.  Raises InvalidArgument."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"not base64url: {error}") from error
