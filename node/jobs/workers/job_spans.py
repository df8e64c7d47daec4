"""The spans of a job that is traced: of the job, and of each of its stages.

A job has one if its submission is traced.  Orders to workers carry the job's place in the trace, and both
sides know the span of a stage by what its tasks run: orders that travel with the answer to a report carry
none.  Another coordinator, which goes on with the job, has a span of its own for its part: the journal tells
the place of the submission.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from ringmill.cluster.errors import JobFailed
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.traces.spans import Span, Tracer, spanned
from ringmill.cluster.traces.stage_places import stage_place

__all__ = ["JobSpans"]

_FAILED: Final = frozenset({"FAILED", "KILLED"})


class JobSpans:
    """`job` is None where the job is not traced."""

    def __init__(self, tracer: Tracer | None, name: str, job: Span | None) -> None:
        self._tracer = tracer
        self._name = name
        self._job = job
        self._stages: dict[bytes, Span | None] = {}

    @classmethod
    def of(cls, tracer: Tracer | None, spec: JobSpec, parent: bytes, *, is_taken_over: bool) -> Self:
        """The spans of a job that is accepted or taken over now, below the span of its submission."""
        if tracer is None or not parent:
            return cls(tracer, spec.job, None)
        notes: dict[str, str | int | bool] = {"ringmill.job": spec.job, "ringmill.job.name": spec.title}
        if is_taken_over:
            notes["ringmill.job.taken_over"] = True
        span = tracer.begin("ringmill.job", kind="internal", parent=parent, notes=notes)
        return cls(tracer, spec.job, span)

    @contextmanager
    def ordering(self, stage: str, encoded_spec: bytes) -> Iterator[None]:
        """Order attempts of a stage.  Its span begins with the first, and ends that of the stage before."""
        if self._job is None or self._tracer is None:
            yield
            return
        place = stage_place(self._job.carried, stage, encoded_spec)
        if place not in self._stages:
            self._end_stages()
            notes = {"ringmill.job": self._name, "ringmill.stage": stage}
            self._stages[place] = self._tracer.begin(
                "ringmill.stage", kind="internal", parent=self._job.carried, notes=notes, place=place
            )
        with spanned(self._job, ends=False):
            yield

    def end(self, state: str) -> None:
        """The job is over, or goes on elsewhere, which is no failure."""
        self._end_stages()
        if self._job is not None:
            self._job.note({"ringmill.job.state": state})
            self._job.end(JobFailed(f"the job is {state}") if state in _FAILED else None)

    def _end_stages(self) -> None:
        for span in self._stages.values():
            if span is not None:
                span.end()
