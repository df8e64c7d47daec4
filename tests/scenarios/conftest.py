"""How simulated runs tell what they did; tests/conftest.py adds it up."""

from typing import Any

import pytest


@pytest.fixture
def tell(record_property: Any) -> Any:
    """Call it with a campaign's Summary."""

    def told(summary: Any) -> None:
        figures = {
            "seeds": summary.seeds,
            **{name: count for counted in summary.figures.values() for name, count in counted.items()},
            "seconds of virtual time": summary.virtual_s,
        }
        record_property("simulated", {"figures": figures, "faults": dict(summary.faults)})

    return told
