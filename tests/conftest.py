"""Settings of all tests; adds up what the simulated runs of a test session did, and tells it once at the end.

Here and not beside the scenarios, as the process that reports under pytest-xdist loads no conftest below.
"""

from collections import Counter
from typing import Any

from hypothesis import settings

# How long an example takes depends on what else the machine does; a test that hangs ends by its own limits.
settings.register_profile("ringmill", deadline=None)
settings.load_profile("ringmill")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Figures travel as properties of the reports, so they arrive from the workers of pytest-xdist too."""
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    starts: list[float] = []
    stops: list[float] = []
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, value in getattr(report, "user_properties", []):
            if name == "simulated" and report.when == "call":
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
