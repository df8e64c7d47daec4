"""The subjects there are, and what a run of several of them has: kinds of fault, and safeguards by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.simulator.faults.every import GENERAL_KINDS
from ringmill.simulator.faults.fault import FaultKind
from ringmill.simulator.patching import Ablation
from ringmill.simulator.subjects.deletes.subject import DELETES
from ringmill.simulator.subjects.jobs.subject import JOBS
from ringmill.simulator.subjects.keyspaces.subject import KEYSPACES
from ringmill.simulator.subjects.loads.subject import LOADS
from ringmill.simulator.subjects.merging.subject import MERGING
from ringmill.simulator.subjects.moves.subject import MOVES
from ringmill.simulator.subjects.objects.subject import OBJECTS
from ringmill.simulator.subjects.registers.subject import REGISTERS
from ringmill.simulator.subjects.scans.subject import SCANS
from ringmill.simulator.subjects.sessions.subject import SESSIONS
from ringmill.simulator.subjects.sloppy.subject import SLOPPY
from ringmill.simulator.subjects.subject import Subject
from ringmill.simulator.subjects.watches.subject import WATCHES

__all__ = ["SUBJECTS", "ablation_named", "fault_kinds", "subjects_named", "switched_off"]

SUBJECTS: Final[tuple[Subject, ...]] = (
    MOVES,
    OBJECTS,
    JOBS,
    REGISTERS,
    KEYSPACES,
    MERGING,
    SESSIONS,
    WATCHES,
    SCANS,
    SLOPPY,
    DELETES,
    LOADS,
)


def subjects_named(names: Sequence[str]) -> list[Subject]:
    """In the order of `SUBJECTS`.  Raises InvalidArgument listing what there is."""
    known = {subject.name: subject for subject in SUBJECTS}
    if unknown := [name for name in names if name not in known]:
        raise InvalidArgument(
            f"there is no subject {unknown[0]!r}", hint=f"one or more of {', '.join(known)}"
        )
    if "scans" in names and (others := {"deletes", "objects", "sessions", "watches"}.intersection(names)):
        raise InvalidArgument(
            f"scans are judged by all keys of keyspace default, and {min(others)} write keys there, too",
            hint="run `--subjects scans` alone, or with subjects that have keyspaces of their own",
        )
    return [subject for subject in SUBJECTS if subject.name in names]


def fault_kinds(subjects: Sequence[Subject]) -> list[FaultKind]:
    """The general kinds, and the subjects' own ones."""
    return [*GENERAL_KINDS, *(kind for subject in subjects for kind in subject.faults)]


def ablation_named(name: str) -> Ablation:
    """Raises InvalidArgument listing what there is."""
    every = {each.name: each for subject in SUBJECTS for each in subject.ablations}
    if name not in every:
        raise InvalidArgument(f"there is no safeguard {name!r}; there are: {', '.join(every)}")
    return every[name]


@contextmanager
def switched_off(names: Sequence[str]) -> Iterator[None]:
    """While inside, the named safeguards do not exist.  Raises InvalidArgument."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(ablation_named(name).off())
        yield
