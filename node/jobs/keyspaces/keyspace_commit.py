"""Commits the output of a job to a keyspace: by puts into it, or into a generation that replaces it.

A generation is a keyspace of its own until all records are in it.  Then one change of the topology document
gives it the name of the keyspace that it replaces.  When that cannot be, it is dropped before the job is told
as failed; if the flip is found done by then, the job has succeeded.

Rules J18 and J25: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final

from ringmill.cluster.errors import Conflict, InvalidArgument, NotFound, RingmillError
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.machine.job_events import LoadMoved
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.cluster.ring.keyspaces.generations import Generation
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.journal.cells import Fenced
from ringmill.node.jobs.keyspaces.loading import Loader
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["KeyspaceCommit"]

_CHANGE_S: Final = 5.0
_CERTAIN: Final = (InvalidArgument, NotFound, Conflict)


class KeyspaceCommit:
    """The commit of one job; used once.  `moved` and `delayed` as of a Loader."""

    def __init__(
        self,
        world: Surroundings,
        spec: JobSpec,
        parts: Sequence[StagedPart],
        *,
        journal: str,
        moved: Callable[[LoadMoved], Awaitable[None]],
        delayed: Callable[[RingmillError], None],
    ) -> None:
        self._world, self._spec, self._parts = world, spec, parts
        self._journal, self._moved, self._delayed = journal, moved, delayed

    async def run(self, mark: LoadMoved) -> None:
        """Go on where `mark` says; returns when readers see the records.

        Raises RingmillError, with outcome "failed" when they see none of them; Fenced.
        """
        spec = self._spec
        former = KeyspaceId(*map(int, spec.output_id.split(".")))
        if not spec.replaces:
            await self._loader(spec.output_keyspace, former).run(mark)
            return
        generation = Generation.of(spec.output_keyspace, former, self._journal)
        try:
            await self._replace(generation, mark)
        except Fenced:
            raise
        except RingmillError as error:
            if not generation.shown_in(await self._changed(generation.given_up)):
                twin = error.with_outcome("failed")
                twin.message = f"keyspace {spec.output_keyspace!r} is not replaced: {error.message}"
                raise twin from error

    async def _replace(self, generation: Generation, mark: LoadMoved) -> None:
        topology = await self._changed(generation.begun)
        if generation.shown_in(topology):
            sometimes("a keyspace that was replaced is found so")
            return
        filled = generation.filled_in(topology)
        if filled is None:
            raise NotFound(f"keyspace {generation.name!r} is there no more: somebody has dropped it")
        await self._loader(generation.name, filled.id).run(mark)
        all_records = sum(part.records for part in self._parts)
        await self._moved(LoadMoved(all_records, 0))  # who is shut out of the journal flips nothing
        await self._changed(generation.flipped)
        sometimes("a keyspace is replaced")

    async def _changed(self, change: Callable[[Topology], Topology | None]) -> Topology:
        """The document with a change, however often it is tried.  Raises what the change raises."""
        for failures in count(1):
            try:
                return await self._world.keyspaces.change(change, _CHANGE_S)
            except _CERTAIN:
                raise
            except RingmillError as error:
                if failures == 1:
                    self._delayed(error)
            await asyncio.sleep(failure_pause_s(self._journal, failures))
        raise AssertionError("count has no end")

    def _loader(self, keyspace: str, id: KeyspaceId) -> Loader:
        world = self._world
        return Loader(
            keyspace, id, self._parts, name=self._journal, window=world.options.load_window,
            keyspaces=world.keyspaces, files=world.files, moved=self._moved, delayed=self._delayed,
            rest=world.rest,
        )  # fmt: skip
