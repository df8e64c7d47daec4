"""The blocking client is the async one, waiting: same names, same parameters, same words."""

from __future__ import annotations

import inspect

import pytest

from ringmill.client import blocking
from ringmill.client.administration.auth import AsyncAuth
from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.administration.members import AsyncMembers
from ringmill.client.administration.ring_view import AsyncRing
from ringmill.client.connection import AsyncClient
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.sessions.sessions import AsyncSession
from ringmill.client.twins import blocking_administration, blocking_sessions

PAIRS = [
    (AsyncKeyspace, blocking.Keyspace),
    (AsyncClient, blocking.Client),
    (AsyncJobs, blocking.Jobs),
    (AsyncSession, blocking_sessions.Session),
    (AsyncAuth, blocking_administration.Auth),
    (AsyncKeyspaces, blocking_administration.Keyspaces),
    (AsyncMembers, blocking_administration.Members),
    (AsyncRing, blocking_administration.Ring),
]
TWIN_NAMES = {"aclose": "close"}
"""What asyncio calls otherwise than the rest of Python."""


def public(kind: type) -> dict[str, object]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("original", "twin"), PAIRS)
def test_both_have_the_same_surface(original: type, twin: type) -> None:
    originals = {TWIN_NAMES.get(name, name): method for name, method in public(original).items()}
    assert set(public(twin)) >= set(originals)
    for name, method in originals.items():
        assert inspect.getdoc(public(twin)[name]), name
        if inspect.isfunction(method):
            here, there = inspect.signature(method), inspect.signature(getattr(twin, name))
            assert list(here.parameters.values())[1:] == list(there.parameters.values())[1:], name
