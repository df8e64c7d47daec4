"""The topology documents that this node has held before, for people who ask what changed.

Nothing is decided by them.  They become durable together with the document that follows them.
"""

from __future__ import annotations

import logging
from typing import Final

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import Epoch
from ringmill.cluster.ring.plans.former_documents import FormerDocuments
from ringmill.cluster.ring.topology import Topology
from ringmill.node.contracts import LazyState

__all__ = ["TopologyHistory"]

_STORED_AS: Final = "former-topologies"
_log = logging.getLogger(__name__)


class TopologyHistory:
    """Called with each document before it is stored, and of the stored one at a start."""

    def __init__(self, store: LazyState) -> None:
        self._store = store
        self._former = self._stored()

    def saw(self, topology: Topology) -> None:
        """This document is about to be stored, or is the one that is."""
        after = self._former.followed_by(topology.epoch, topology.encode())
        if after is not self._former:
            self._former = after
            if after.entries:
                self._store.put_along(_STORED_AS, after.encode())

    def find(self, epoch: Epoch) -> bytes:
        """The document of an epoch; empty when this node does not remember it."""
        try:
            return self._former.find(epoch) or b""
        except CorruptData as error:
            _log.warning("epoch %d is forgotten: %s", epoch, error)
            return b""

    def epochs(self) -> tuple[Epoch, ...]:
        """Those that are remembered, oldest first."""
        return self._former.epochs()

    def _stored(self) -> FormerDocuments:
        try:
            stored = self._store.get(_STORED_AS)
            return FormerDocuments() if stored is None else FormerDocuments.decode(stored)
        except CorruptData as error:
            _log.warning("earlier epochs are forgotten: %s", error)
            return FormerDocuments()
