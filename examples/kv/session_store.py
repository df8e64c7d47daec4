"""Web sessions that end when their user is away for long: values with a ttl.

Each visit writes the session again, and so begins its time anew.  The end of a session is a mark in its
place, and no delete: a visit at the same moment writes with the context of its read, so the mark stays beside
what it writes, and a session with the mark among its siblings has ended.
"""

import json
import secrets
from datetime import timedelta

from ringmill import EMPTY, CausalContext, Client

Session = dict[str, str]
AWAY = timedelta(minutes=30)
ENDED = b"null"


def begin(db: Client, session: Session, away: timedelta = AWAY) -> str:
    """The token of a new session."""
    token = secrets.token_urlsafe(16)
    _write(db, token, session, away, EMPTY)
    return token


def visit(db: Client, token: str, away: timedelta = AWAY) -> Session | None:
    """The session, for a while longer; None when it has ended."""
    found = db.get(f"session:{token}", None)
    if found is None or ENDED in found.siblings:
        return None
    session: Session = json.loads(found.newest)
    _write(db, token, session, away, found.context)
    return session


def end(db: Client, token: str, away: timedelta = AWAY) -> None:
    """The mark outlasts what a visit under way may still write."""
    db.put(f"session:{token}", ENDED, ttl=2 * away)


def _write(db: Client, token: str, session: Session, away: timedelta, context: CausalContext) -> None:
    db.put(f"session:{token}", json.dumps(session).encode(), context=context, ttl=away)
