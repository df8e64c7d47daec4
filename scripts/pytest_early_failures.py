"""A pytest plugin that writes the name of each failed test to stderr when it fails, not only at the end.

A run that is killed, or hangs, has then said what failed before.  Loaded by scripts/run_tests.py.
"""

from __future__ import annotations

import os
import sys

import pytest

__all__ = ["pytest_runtest_logreport"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:  # workers report to the one that prints
        at = "" if report.when == "call" else f" ({report.when})"
        print(f"\ntests: failed: {report.nodeid}{at}", file=sys.__stderr__, flush=True)
