"""A reader of the jobs' outputs who looks whenever anything changes on the shared disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ringmill.simulator.job_history import Sighting
from ringmill.simulator.subjects.jobs.oracle import content
from ringmill.simulator.subjects.jobs.workload import FORMER
from ringmill.simulator.world.world import World

__all__ = ["Reader"]

State = Literal["absent", "whole", "former", "torn"]


class Reader:
    """`expected` are the files of each output, by the oracle's word."""

    def __init__(self, world: World, expected: Mapping[str, Mapping[str, bytes]]) -> None:
        self._world = world
        self._expected = expected
        self._seen: dict[str, Sighting] = {}
        world.shared.on_change = self._look

    def expect(self, output: str, files: Mapping[str, bytes]) -> None:
        """One more output to look at."""
        self._expected = {**self._expected, output: files}

    def look_at_all(self) -> None:
        for output in self._expected:
            self._see(output)

    def _look(self, path: str) -> None:
        """A name has changed: look at the outputs that it may belong to."""
        for output in self._expected:
            if path == "/" or f"{path}/".startswith(f"{output}/"):
                self._see(output)

    def _see(self, output: str) -> None:
        state: State = "absent"
        story, shared = "", self._world.shared
        if shared.is_dir(output):
            found, wanted = content(shared, output), self._expected[output]
            state = "whole" if found == wanted else "former" if found == FORMER else "torn"
            wrong = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
            story = f"holds {', '.join(found) or 'nothing'}; not as wanted: {', '.join(wrong) or 'none'}"
        former = self._seen.get(output)
        seen = self._seen[output] = Sighting(self._world.loop.time(), output, state, story)
        if former is None or (former.state, former.story) != (state, story):
            self._world.trace.note("reader", f"sees {output} {state}")
            self._world.history.jobs.sightings.append(seen)
