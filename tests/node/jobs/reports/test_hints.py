"""What the error of a job proposes to its user."""

from __future__ import annotations

import asyncio
from typing import Any

from ringmill.cluster.errors import from_wire


async def test_an_end_without_a_line_of_the_users_has_no_debugger_in_its_hint(cluster: Any) -> None:
    cluster.write_input("here is poison\n")
    async with asyncio.timeout(30):
        view = await cluster.run(cluster.spec(mode="exit"))
    error = from_wire(view.error)
    assert "left with exit code 0" in error.message
    assert "`ringmill job replay job-1 map-0` runs" in error.hint
