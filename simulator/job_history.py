"""The record of a run's jobs that the checker reads: who asked for what and was told what, and every look
that a reader of the outputs could have taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["JobHistory", "JobRecord", "JobReport", "Sighting"]


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a coordinator said of a job.  `cause` is of the error, when there is one."""

    at: float
    node: str
    state: str
    records: Mapping[str, int]
    counters: Mapping[str, int]
    error: str = ""
    cause: str = ""


@dataclass(slots=True)
class JobRecord:
    """One job id, and what was told of it."""

    job: str
    output: str
    replaces: bool = False  # it may replace an output that is there
    submits: int = 0
    is_accepted: bool = False  # a client was told so
    lost_as: str = ""  # what was told of it at last, if it was accepted and never ended
    tries: int = 0  # the most attempts that a task of it had, when all was over
    is_paused: bool = False  # a client has asked for it, and was not told that it goes on
    in_pauses: list[tuple[int, int]] = field(default_factory=list)
    """Attempts that it had begun when its pause was told, and later, before anybody asked that it goes on."""
    told: list[JobReport] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)  # what the client met

    @property
    def shortfall(self) -> str:
        """Why it is not known to have succeeded; empty when its keeper has said so."""
        if any(report.state == "SUCCEEDED" for report in self.told):
            return ""
        ends = [f"{each.state}: {each.error}" for each in self.told if each.state in ("FAILED", "KILLED")]
        return "; ".join(ends or self.trouble) or "still runs"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An output at one moment: absent, whole, former (what an earlier job left), or torn, and how."""

    at: float
    output: str
    state: Literal["absent", "whole", "former", "torn"]
    story: str = ""


@dataclass(slots=True)
class JobHistory:
    """What clients and readers of a run's jobs saw, beside what the oracle made of the same jobs."""

    jobs: list[JobRecord] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)  # only changes, in order
    records: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by output, what the oracle saw
    struck: Mapping[str, int] = field(default_factory=dict)  # by job, task processes that faults have killed
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    revived: list[str] = field(default_factory=list)  # registers of forgotten journals that took an entry
    left: list[str] = field(default_factory=list)  # those that a sound node has not removed, with its name
