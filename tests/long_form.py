"""Tests that `make test` leaves out, as they take long: RINGMILL_LONG=1 runs them (docs/testing.md)."""

from __future__ import annotations

import os

import pytest

__all__ = ["takes_long"]

takes_long = pytest.mark.skipif(
    "RINGMILL_LONG" not in os.environ, reason="takes long; RINGMILL_LONG=1 runs it"
)
