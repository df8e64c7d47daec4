"""What happened to a job, for people: a line an event worth telling, within a bound.  Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_STORY_LINES", "JobStory"]

MAX_STORY_LINES: Final = 1000


class JobStory(list[str]):
    """The first lines; what comes after too many is not kept."""

    def tell(self, line: str) -> None:
        if len(self) < MAX_STORY_LINES:
            self.append(line)

    def tell_once(self, line: str) -> None:
        """An error that comes again and again is one line."""
        if self[-1:] != [line]:
            self.tell(line)

    def tell_new(self, line: str) -> None:
        """What was told before, at any time, is not told again."""
        if line not in self:
            self.tell(line)
