"""Adds up what the simulated runs of a test session did, and tells it once at the end."""

from collections import Counter
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Figures travel as properties of the reports, so they arrive from the workers of pytest-xdist too."""
    figures: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, value in getattr(report, "user_properties", []):
            if name == "simulated" and report.when == "call":
                figures.update(value["figures"])
                faults.update(value["faults"])
    if figures:
        told = ", ".join(f"{name} {count:,.0f}" for name, count in figures.items())
        fired = ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items()))
        terminalreporter.write_line(f"simulated: {told}")
        terminalreporter.write_line(f"faults that fired: {fired}")


@pytest.fixture
def tell(record_property: Any) -> Any:
    """Call it with a campaign's Summary."""

    def told(summary: Any) -> None:
        figures = {
            "seeds": summary.seeds,
            "operations": summary.operations,
            "answered": summary.answered,
            "virtual seconds": summary.virtual_s,
        }
        record_property("simulated", {"figures": figures, "faults": dict(summary.faults)})

    return told
