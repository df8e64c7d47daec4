"""Ports for tests that listen in their own process: no node of any test's cluster has one of them.

Peers of a node that a test has killed go on dialling its port, which would reach whoever listens there next.
"""

from __future__ import annotations

import itertools
import os

from ringmill.client.local.tcp_ports import is_free

__all__ = ["free_port"]

_OF_A_WORKER = 900  # workers of pytest-xdist do not share any
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
_NUMBERS = itertools.count(os.getpid() % _OF_A_WORKER)


def free_port() -> int:
    """A port that nobody listens on, from 8,200 up to 13,600, and another one each time."""
    while True:
        port = 8_200 + _WORKER * _OF_A_WORKER + next(_NUMBERS) % _OF_A_WORKER
        if is_free(port):
            return port
