"""What the span of a job tells at its end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ringmill.cluster.traces.spans import Notes, Span
from ringmill.node.jobs.workers.job_spans import JobSpans


class Ended:
    """How one span has ended."""

    def __init__(self) -> None:
        self.notes: dict[str, object] = {}
        self.error: BaseException | None = None

    def note(self, notes: Notes) -> None:
        assert isinstance(notes, Mapping)
        self.notes.update(notes)

    def end(self, error: BaseException | None) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("state", "has_failed"),
    [("SUCCEEDED", False), ("FAILED", True), ("KILLED", True), ("RUNNING", False), ("COMMITTING", False)],
)
def test_a_job_that_goes_on_elsewhere_has_not_failed(state: str, has_failed: bool) -> None:
    ended = Ended()
    JobSpans(None, "j-1", Span(b"t" * 16 + b"thisspan" + b"\x01", ended)).end(state)
    assert ended.notes == {"ringmill.job.state": state}
    assert (ended.error is not None) is has_failed
