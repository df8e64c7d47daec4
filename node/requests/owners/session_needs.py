"""What the session of a request asks of its coordinator (rules S1 to S3: docs/protocol/sessions.md)."""

from __future__ import annotations

from ringmill.cluster.quorum.levels import level_that_meets_all
from ringmill.cluster.versions.context_token import ContextSeal
from ringmill.cluster.versions.seen import Forgotten, Needed, needed_of
from ringmill.cluster.wire.request_options import Seen
from ringmill.node.replica.routes import Route

__all__ = ["level_for", "need_of"]


def need_of(seen: Seen | None, route: Route, seal: ContextSeal) -> Needed | None:
    """What an answer about the key of `route` has to cover; None without a session.  Raises
    InvalidArgument."""
    return None if seen is None else needed_of(*seen, route.keyspace.id, route.key, seal)


def level_for(needed: Needed | None, r: int, route: Route) -> int:
    """The number of owners to ask, `r` or more: a session that has forgotten keys cannot say what it has seen
    of this one, and enough owners have to answer that it does not matter (rule S3)."""
    if needed is None or needed.forgotten is Forgotten.NOTHING:
        return r
    row, keyspace = route.row, route.keyspace
    if needed.forgotten is Forgotten.WEAK:
        return len(row.readers)
    return max(r, row.readers_for(level_that_meets_all(row.size, keyspace.r, keyspace.w)))
