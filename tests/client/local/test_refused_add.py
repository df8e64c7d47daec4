"""`cluster add` that is refused leaves no process behind that is no member."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from ringmill.client.cli.frame.settings import Settings
from ringmill.client.cli.ring import asked_change
from ringmill.client.cli.ring.asked_change import AskedChange, carry_out
from ringmill.cluster.errors import Conflict


@pytest.mark.parametrize(("outcome", "stops"), [("failed", ["n4"]), ("unknown", [])])
def test_a_refused_newcomer_is_stopped_and_one_that_may_be_a_member_is_not(
    outcome: str, stops: list[str]
) -> None:
    stopped: list[str] = []

    async def change(*_: object) -> None:
        raise Conflict("partitions are moving", outcome=outcome)

    with (
        patch.object(asked_change, "_change", change),
        patch.object(asked_change, "_stop", lambda _, name: stopped.append(name)),
        pytest.raises(Conflict),
    ):
        carry_out(Settings(), AskedChange("n4", "add n4", {"add": {"n4": "127.0.0.1:7104"}}), starts="n4")
    assert stopped == stops
