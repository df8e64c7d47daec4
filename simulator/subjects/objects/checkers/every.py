"""All checkers of the product as it stands, in the order of their numbers.

Checked where they run: C7 and C8 registers and leases, C9 a job's output against the one-process oracle, C10
counters, sets and maps, C12 scans, C18 keyspaces, C19 watches, C20 sloppy writes, C25
keyspaces of last writers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final as Constant

from ringmill.simulator.checkers.promptness import check_promptness, wrong_errors
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.subjects.objects.checkers.clock_steps import check_clock_steps
from ringmill.simulator.subjects.objects.checkers.convergence import check_convergence, check_hand_over
from ringmill.simulator.subjects.objects.checkers.damage import check_beside_damage
from ringmill.simulator.subjects.objects.checkers.deletes import check_deletes
from ringmill.simulator.subjects.objects.checkers.durability import (
    check_before_quiet,
    check_damaged,
    check_durability,
    check_receipts,
)
from ringmill.simulator.subjects.objects.checkers.expiry import check_expiry
from ringmill.simulator.subjects.objects.checkers.invention import check_invention
from ringmill.simulator.subjects.objects.checkers.late_work import check_late_work
from ringmill.simulator.subjects.objects.checkers.liars import check_liars
from ringmill.simulator.subjects.objects.checkers.progress import check_progress
from ringmill.simulator.subjects.objects.checkers.sessions import check_sessions
from ringmill.simulator.subjects.objects.checkers.siblings import check_shown_values, check_siblings

__all__ = ["CHECKERS", "check_all", "check_real"]

CHECKERS: Constant[tuple[Callable[[History], Iterator[Violation]], ...]] = (
    check_durability,
    check_before_quiet,
    check_damaged,
    check_receipts,
    check_beside_damage,
    check_convergence,
    check_hand_over,
    check_siblings,
    check_shown_values,
    check_invention,
    check_liars,
    check_sessions,
    check_deletes,
    check_late_work,
    check_clock_steps,
    check_expiry,
    check_progress,
    check_promptness,
)


def check_all(history: History) -> list[Violation]:
    """Every violation that any checker finds, in the order of the checkers."""
    return [violation for check in CHECKERS for violation in check(history)]


def check_real(history: History) -> list[Violation]:
    """Check a run on real processes by all checkers but lateness: a busy machine is late by itself.  Errors
    that no fault excuses are found in calls of all sorts."""
    checkers = [wrong_errors if check is check_promptness else check for check in CHECKERS]
    return [violation for check in checkers for violation in check(history)]
