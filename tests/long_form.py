"""Tests that `make test` leaves out, as they take long: RINGMILL_LONG=1 runs them (docs/testing.md)."""

from __future__ import annotations

import os

import pytest

__all__ = ["RUNS_LONG", "takes_long"]

RUNS_LONG = "RINGMILL_LONG" in os.environ
takes_long = pytest.mark.skipif(not RUNS_LONG, reason="takes long; RINGMILL_LONG=1 runs it")
