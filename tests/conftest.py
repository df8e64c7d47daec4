"""Settings of all tests; adds up what the simulated runs of a test session did, and tells it once at the end,
with the times that tests of real processes have noted.

Here and not beside the scenarios, as the process that reports under pytest-xdist loads no conftest below.
"""

import asyncio
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ringmill.cluster.errors import RingmillError

# How long an example takes depends on what else the machine does; a test that hangs ends by its own limits.
settings.register_profile("ringmill", deadline=None)
settings.load_profile("ringmill")

# What these name is for the tests themselves; other settings of the user would reach nodes and command lines.
_OF_TESTS = {"ENGINE_EXAMPLES", "FUZZ_EXAMPLES", "FLIPS", "CRASH_STATES", "OUTCOMES", "CHROMIUM", "LONG"}
for name in [name for name in os.environ if name.startswith("RINGMILL_")]:
    if name.removeprefix("RINGMILL_") not in _OF_TESTS:
        del os.environ[name]


_ROOT = Path(__file__).resolve().parent.parent
_OUR_FRAME = re.compile(rf'  File "{re.escape(str(_ROOT))}/(ringmill/)?(client|cluster|node|simulator)/')


class _Errors(logging.Handler):
    """Keeps what asyncio tells of tasks that nobody awaits and of callbacks that fail."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or isinstance(error, (RingmillError, OSError, asyncio.CancelledError)):
            return  # no bug: what a loop that ends leaves behind, too
        line = self.format(record)
        frames = [text for text in line.splitlines() if text.startswith('  File "')]
        # Libraries and tests raise on purpose, and close loops and streams that callbacks still need.
        if frames and _OUR_FRAME.match(frames[-1]):
            self.lines.append(line)


@pytest.fixture(autouse=True)
def unheard_errors() -> Iterator[list[str]]:
    """Fails the test when a task or a callback of its event loops failed and nobody was told but the log.

    A test that means one to fail takes what was told out of the list.
    """
    errors, logger = _Errors(), logging.getLogger("asyncio")
    logger.addHandler(errors)
    yield errors.lines
    logger.removeHandler(errors)
    assert not errors.lines, "\n".join(errors.lines)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Figures travel as properties of the reports, so they arrive from the workers of pytest-xdist too."""
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    starts: list[float] = []
    stops: list[float] = []
    times: list[str] = []
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        noted = getattr(report, "user_properties", []) if report.when == "call" else []
        for name, value in noted:
            if name.endswith("_after_s"):
                times.append(f"{name} {value} (goal {dict(noted)['goal_s']:.0f}): {report.nodeid}")
            if name == "simulated":
                figures.update(value["figures"])
                faults.update(value["faults"])
                starts.append(report.start)
                stops.append(report.stop)
    if figures:
        rate = figures["seeds"] / max(1e-9, max(stops) - min(starts))
        told = ", ".join(f"{count:,.0f} {name}" for name, count in figures.items())
        fired = ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items()))
        terminalreporter.write_line(f"simulated: {told}; {rate:.1f} seeds/s (goal 8 on two free cores)")
        terminalreporter.write_line(f"faults that fired: {fired}")
    for line in times:
        terminalreporter.write_line(line)
