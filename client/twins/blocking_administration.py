"""The tokens, keyspaces, members and ring of the blocking client, as client/administration/ promises."""

from __future__ import annotations

from ringmill.client.administration.auth import AsyncAuth
from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.administration.members import AsyncMembers
from ringmill.client.administration.ring_view import AsyncRing
from ringmill.client.twins.blocking_twins import WaitingLoop, timed

__all__ = ["Auth", "Keyspaces", "Members", "Ring"]


class Auth:
    """The tokens of a cluster's clients, blocking, as client/administration/auth.py promises."""

    def __init__(self, subject: AsyncAuth, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    issue = timed(AsyncAuth.issue)
    revoke = timed(AsyncAuth.revoke)
    require = timed(AsyncAuth.require)
    list = timed(AsyncAuth.list)


class Keyspaces:
    """The keyspaces of a cluster, blocking, as client/administration/keyspaces.py promises."""

    def __init__(self, subject: AsyncKeyspaces, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    create = timed(AsyncKeyspaces.create)
    alter = timed(AsyncKeyspaces.alter)
    drop = timed(AsyncKeyspaces.drop)
    list = timed(AsyncKeyspaces.list)
    show = timed(AsyncKeyspaces.show)


class Members:
    """The members of a cluster, blocking, as client/administration/members.py promises."""

    def __init__(self, subject: AsyncMembers, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    plan_replacement = timed(AsyncMembers.plan_replacement)
    replace = timed(AsyncMembers.replace)
    healing = timed(AsyncMembers.healing)
    heal_without = timed(AsyncMembers.heal_without)
    plan_recovery = timed(AsyncMembers.plan_recovery)
    recover = timed(AsyncMembers.recover)
    change = timed(AsyncMembers.change)
    moves = timed(AsyncMembers.moves)
    pause_moves = timed(AsyncMembers.pause_moves)
    resume_moves = timed(AsyncMembers.resume_moves)
    abort_moves = timed(AsyncMembers.abort_moves)


class Ring:
    """The ring of a cluster, blocking, as client/administration/ring_view.py promises."""

    def __init__(self, subject: AsyncRing, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    show = timed(AsyncRing.show)
    plan = timed(AsyncRing.plan)
    diff = timed(AsyncRing.diff)
