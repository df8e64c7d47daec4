"""Reads the file of a node's token again when it changes, so that the secret is rotated without a restart.

A file that cannot be read, holds no token or has no secret in common with the one in force leaves that one as
it is, and the log says so once.  What the system could not read, as for want of descriptors, is read again
at the next look.  Rule F9: docs/protocol/requests.md.
"""

from __future__ import annotations

import logging
from typing import Final

from ringmill.cluster.access.cluster_secret import HeldSecret, cluster_secret
from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import InvalidArgument
from ringmill.node.config import token_again, token_mark

__all__ = ["WatchedToken"]

LOOK_EVERY_S: Final = 1.0
_log = logging.getLogger(__name__)


class WatchedToken:
    """The file at `path`, which held what `secret` has."""

    def __init__(self, path: str, secret: HeldSecret) -> None:
        self._path = path
        self._secret = secret
        self._mark: object = None  # it may have changed since it was read
        self._told = ""

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            self.look()
            await next_beat(LOOK_EVERY_S)

    def look(self) -> None:
        """Take over what the file holds, if it was written since the last look."""
        mark = token_mark(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            text = token_again(self._path)
            if text == self._secret.text:
                self._told = ""
                return
            self._secret.change(text)
        except InvalidArgument as error:
            if isinstance(error.__cause__, OSError):
                self._mark = None
            if error.message != self._told:
                _log.warning("the former token stays in force: %s: %s", self._path, error.message)
            self._told = error.message
            return
        self._told = ""
        now = cluster_secret(text)
        also = "a next one is accepted, too" if now.next else "the former one is accepted, too"
        _log.info(
            "the token was read again: %s", also if len(now.accepted) > 1 else "its secret alone is accepted"
        )
