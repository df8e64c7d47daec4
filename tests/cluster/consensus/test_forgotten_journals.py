"""One value tells which journals nobody will use again (rule J29)."""

from itertools import pairwise

import msgpack
import pytest

from ringmill.cluster.consensus.forgotten_journals import (
    NONE_FORGOTTEN,
    ForgottenJournals,
    JournalPlace,
)
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.node.jobs.journal.cells import COORDINATOR, INDEX, entry_key


def told_by_term_5() -> ForgottenJournals:
    """Its next job is the 9th, the 7th is being accepted; one of term 3 and the 6th are in the list."""
    return ForgottenJournals.beside(JournalPlace(5, 9), ["b.5.7"], ["old.3.2", "b.5.7", "a.5.6"])


@pytest.mark.parametrize(
    ("journal", "is_forgotten"),
    [
        ("old.3.1", True),
        ("old.3.2", False),
        ("old.4.12", True),
        ("a.5.5", True),
        ("a.5.6", False),
        ("b.5.7", False),
        ("c.5.8", False),
        ("c.5.9", False),
        ("c.6.1", False),
        ("old.10.1", False),
    ],
)
def test_what_lies_before_the_next_job_and_is_in_no_list_is_forgotten(
    journal: str, is_forgotten: bool
) -> None:
    for told in (told_by_term_5(), ForgottenJournals.decode(told_by_term_5().encode())):
        assert [told.covers(entry_key(journal, slot)) for slot in (0, 4095)] == [is_forgotten] * 2


@pytest.mark.parametrize(
    "key",
    [
        COORDINATOR,
        INDEX,
        b"ringmill/forgotten",
        b"ringmill/job/",
        b"ringmill/job/odd/0",
        b"job.1.1/0",
        b"x.1.1",
    ],
)
def test_what_is_not_a_journal_is_never_forgotten(key: bytes) -> None:
    assert not told_by_term_5().covers(key)


def test_later_knowledge_is_more() -> None:
    told = told_by_term_5()
    shorter = told._replace(kept=frozenset(sorted(told.kept)[1:]))
    later = ForgottenJournals(JournalPlace(6, 1), told.kept)
    in_order = [NONE_FORGOTTEN, told, shorter, later]
    assert all(after.is_more_than(before) for before, after in pairwise(in_order))
    assert not any(before.is_more_than(after) for before, after in pairwise(in_order))
    assert not told.is_more_than(told)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([2, 1, 1, []], ProtocolMismatch),
        ([1, 1, 1], CorruptData),
        ([1, -1, 1, []], CorruptData),
        ([1, True, 1, []], CorruptData),
        ([1, 1, 1, [[1]]], CorruptData),
        ([1, 1, 1, [["1", 2]]], CorruptData),
        ([1, 1, 1, 5], CorruptData),
        (7, CorruptData),
    ],
)
def test_anything_else_is_reported(fields: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        ForgottenJournals.decode(msgpack.packb(fields))
