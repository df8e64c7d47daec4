"""Web sessions that end when their user is away for long: values with a ttl.

Each visit writes the session again, and so begins its time anew.
"""

import json
import secrets
from datetime import timedelta

from ringmill import Client

Session = dict[str, str]
AWAY = timedelta(minutes=30)


def begin(db: Client, session: Session, away: timedelta = AWAY) -> str:
    """The token of a new session."""
    token = secrets.token_urlsafe(16)
    _write(db, token, session, away)
    return token


def visit(db: Client, token: str, away: timedelta = AWAY) -> Session | None:
    """The session, for a while longer; None when it has ended."""
    found = db.get(f"session:{token}", None)
    if found is None:
        return None
    session: Session = json.loads(found.newest)
    _write(db, token, session, away)
    return session


def end(db: Client, token: str) -> None:
    db.delete(f"session:{token}")


def _write(db: Client, token: str, session: Session, away: timedelta) -> None:
    db.put(f"session:{token}", json.dumps(session).encode(), ttl=away)
