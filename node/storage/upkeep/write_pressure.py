"""Keeps writers within what memory, tables and the disk can take.

It seals memtables, and tells `Admission` who may write, from the free space, the shape of the tables, and how
full the memtable is.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.unflushed import Unflushed
from ringmill.node.storage.upkeep.admission import Admission
from ringmill.node.storage.upkeep.upkeep import Upkeep

__all__ = ["WritePressure"]

_SHORT_SPACE_SHARE: Final = 16  # of a memtable is flushed when space is short
_MOST_LOGS: Final = 16  # that a start leaves as they are: each start begins one, however little it writes


class WritePressure:
    def __init__(
        self, options: EngineOptions, *, unflushed: Unflushed, upkeep: Upkeep, admission: Admission
    ) -> None:
        self._options = options
        self._unflushed = unflushed
        self._upkeep = upkeep
        self._admission = admission
        self.frees_space = False  # the active memtable deletes what tables hold, and space is short

    def seal(self) -> None:
        """Begin a new memtable and log; the former one is flushed soon."""
        self.frees_space = False
        self._unflushed.seal()
        self._upkeep.space.check()
        self._upkeep.wake()

    def seal_unless_failed(self) -> bool:
        """Seal the memtable, unless the store has failed: then nothing is written any more.

        Returns whether it was sealed.
        """
        is_well = self._admission.failure is None
        if is_well:
            self.seal()
        return is_well

    def seal_many_logs(self) -> None:
        """Seal the memtable if it was read from more logs than a start leaves as they are."""
        if len(self._unflushed.active_logs) > _MOST_LOGS:
            self.seal_unless_failed()

    def seal_if_possible(self) -> None:
        """Seal the memtable, unless a sealed one still waits for its flush: then writers wait too."""
        if self._unflushed.sealed:
            self._admission.hold_back()
        else:
            self.seal()

    def refresh(self) -> None:
        """Adjust what writers may do: the version, the memtables, the free space or the health changed."""
        admission, short = self._admission, self._upkeep.space.refusal
        if admission.log_full and short is None:
            admission.log_full = None
            self._unflushed.log.resume()
        # a log may hold far more than the table it becomes: where space is short it is not kept for long
        is_hoarding = short is not None and admission.log_full is None
        limit = self._options.memtable_bytes // (_SHORT_SPACE_SHARE if is_hoarding else 1)
        records = self._options.memtable_records
        rate = self._upkeep.write_rate()
        # what a deletion deletes stays on the disk until a merge meets both (rule E11)
        is_awaited = is_hoarding and self.frees_space and rate is None
        is_full = is_awaited or self._unflushed.active.fills(limit, records)
        if is_full and not self._unflushed.sealed and admission.failure is None:
            self.seal()
            is_full = False
        admission.refresh(short, rate, is_full=is_full)
        self._upkeep.wake()

    def pause(self, error: RingmillError) -> None:
        """The log found the disk full: read-only until the space watch sees space again."""
        self._upkeep.space.check()
        self._admission.pause(error)

    def refuse(self, error: RingmillError) -> None:
        """From now on nothing is applied, and nothing is served that was never synced."""
        self._admission.end(error)
        self._upkeep.give_up()
