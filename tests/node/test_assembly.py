"""A node as production puts it together."""

from __future__ import annotations

import re
from pathlib import Path

from ringmill.node.calls_to_self import CallsToSelf
from tests.node.repair.healing_world import HealingWorld, run


def test_each_room_is_tuned_by_its_field_of_the_options() -> None:
    async def story(world: HealingWorld) -> None:
        node = world["n1"]
        options = node.core.options
        assert node.replica.engine.options is options.storage
        assert node.replica.objects._options is options.replica
        assert node.membership.watch._options is options.membership
        requests = node.kv._requests
        assert requests._writer._dispatcher._options is requests._reader._options is options.requests
        assert node.repair.delivery._options is options.hints
        assert node.compute.worker._options is options.worker
        assert node.jobs._world.options is options.coordinator

    run(story)


def test_the_methods_that_a_node_serves_are_those_of_the_page_of_frames() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "frame.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+\.\w+`(?:, `\w+\.\w+`)*) \|", page, re.MULTILINE)
    listed = [method for row in rows for method in re.findall(r"`([^`]+)`", row)]
    assert len(listed) == len(set(listed))

    async def story(world: HealingWorld) -> None:
        transport = world["n1"].core.transport
        assert isinstance(transport, CallsToSelf)
        assert sorted([*transport._handlers, *transport._batch_handlers]) == sorted(listed)

    run(story)
