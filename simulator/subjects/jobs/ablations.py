"""Safeguards that jobs rely on."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, Final

import ringmill.node.compute.shuffle_client
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.api.chains.stages import START, may_ask
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit import job_steps, output_commit
from ringmill.cluster.mapreduce.commit.output_commit import commit_output
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.part_file import PartFile
from ringmill.cluster.mapreduce.kernel.set_aside import SetAside
from ringmill.cluster.mapreduce.kernel.states_part import StatesPart
from ringmill.cluster.mapreduce.machine.job_events import PlanStage
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_CANCEL, Cancel
from ringmill.node.compute.worker import Worker
from ringmill.node.jobs import publication
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.journal.cells import entry_key
from ringmill.node.jobs.journal.job_index import JobIndex
from ringmill.node.jobs.journal.job_journal import JobJournal
from ringmill.node.jobs.stages import next_stage
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.tenure import Tenure
from ringmill.node.jobs.workers.orders import Orders, Polled
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.options import usual_options
from ringmill.simulator.patching import Ablation, Patches, function, method

__all__ = ["JOB_ABLATIONS"]


def _orders_once() -> Patches:
    """A worker runs an assignment each time it arrives."""
    on_start = Worker._on_start

    def start_again(worker: Worker, incoming: Any) -> bytes:
        for job in worker._jobs.values():
            job.attempts, job.finished = {}, set()
        return on_start(worker, incoming)

    return (method(Worker._on_start, start_again),)


def _slice_checksum() -> Patches:
    return (
        function(
            ringmill.node.compute.shuffle_client,
            ringmill.node.compute.shuffle_client._is_sound,
            lambda piece, checksum: True,
        ),
    )


def _lost_output_revoked() -> Patches:
    return (method(JobMachine._revoke, lambda machine, task, why: None),)


def _folders_synced() -> Patches:
    return (method(FolderTree.fsync_dir, lambda tree, path: None),)


def _parts_synced() -> Patches:
    finish = PartFile.finish

    def finish_unsynced(part: PartFile) -> None:
        part._file.sync = lambda: None  # type: ignore[method-assign]
        finish(part)

    return (method(PartFile.finish, finish_unsynced),)


def _success_last() -> Patches:
    """The output is shown before its parts are in it."""

    def show_first(files: Any, job: str, output: str, parts: Any, *, overwrite: bool = True) -> None:
        files.mkdir(output)
        for part in parts:
            output_commit._move(files, part, f"{output}/{part.name}")
        output_commit._write_success(files, f"{output}/_SUCCESS", output_commit.manifest(parts))

    return (function(job_steps, commit_output, show_first),)


def _manifest() -> Patches:
    return (function(output_commit, output_commit._write_success, lambda files, path, content: None),)


def _missing_is_not_moved() -> Patches:
    """A part that is not in its place counts as moved, whatever the target holds."""

    def move(files: Any, part: Any, target: str) -> None:
        with suppress(FileNotFoundError):
            files.rename(part.path, target)

    return (function(output_commit, output_commit._move, move),)


def _one_output_shown_once() -> Patches:
    """The later of two jobs with one output clears away what the first has shown."""
    show = output_commit._show

    def show_anyhow(files: Any, result: str, output: str) -> None:
        files.remove_tree(output)
        show(files, result, output)

    return (function(output_commit, output_commit._show, show_anyhow),)


def _commit_repeated() -> Patches:
    """A commit that met an error has failed, whatever shows."""
    return (function(publication, publication._is_certain, lambda error, failures: True),)


def _read_maps_count() -> Patches:
    return (method(JobMachine._count_maps_that_were_read, lambda machine: None),)


def _lost_attempts_noticed() -> Patches:
    """A coordinator never learns that a worker has forgotten an attempt, or a whole job, and no backup hides
    that."""
    return (
        method(Orders.at, lambda orders, node: Polled((), ())),
        method(Worker._start_of_new, lambda worker: worker._start),
        *_slow_tasks_backed_up(),
    )


def _stray_frees_its_name() -> Patches:
    """A stopped stray is not taken for the attempt that has its name meanwhile."""

    async def cancel_only(orders: Orders, attempt: Any, node: Any) -> None:
        job, term, _, _ = orders._job.order_form()
        try:
            await orders._ask(node, TASK_CANCEL, Cancel(job, term, attempt).encode(), 5.0)
        except RingmillError:
            orders._job.lose(node)
        orders._stopping.pop(attempt, None)
        orders._forget(attempt, node)
        orders._job.wake()

    return (method(Orders._cancel, cancel_only),)


def _seen_down_passed() -> Patches:
    """Jobs and tasks go to members in their order, whoever seems to be there."""
    return (method(Surroundings.members_up, Surroundings.members),)


def _journal_sealed() -> Patches:
    """Who finds that another coordinator has written in its place goes on as if it had written itself."""

    async def append(journal: JobJournal, entry: Any) -> None:
        key = entry_key(journal.name, entry.slot)
        await journal._cells.write(key, entry.encode(), entry.former_version)
        journal.number += 1

    async def write_index(index: JobIndex, rows: Any) -> None:
        index.rows = rows

    return (method(JobJournal._append, append), method(JobIndex._write, write_index))


def _jobs_taken_over() -> Patches:
    """A coordinator drives the jobs that it has accepted, and nobody takes those of a lost one."""

    async def forget(tenure: Tenure, row: Any) -> None:
        return

    return (method(Tenure._take_over, forget),)


def _stages_noted() -> Patches:
    """Whoever takes a chain over goes on behind its first stage, whatever is done."""
    taken_over = JobMachine._taken_over

    def taken_over_early(machine: JobMachine, node: Any) -> Any:
        said = taken_over(machine, node)
        if machine.chain.place.passed < 1:
            return said
        machine.state, machine.chain.place, machine.chain.over[1:] = "PLANNING", START, []
        return [PlanStage()]

    return (method(JobMachine._taken_over, taken_over_early),)


def _rounds_asked() -> Patches:
    """Whoever plans the next stage takes the counters' word alone."""
    return (function(next_stage, may_ask, lambda link, place: False),)


def _own_folder_planned() -> Patches:
    """All who plan a job share one hidden folder, and make it anew."""
    return (method(JobSpec.staging, property(lambda spec: spec.job)),)


def _noted_input_kept() -> Patches:
    """Whoever takes a job over knows what was submitted, and not what planning noted."""
    stored = JobDriver._stored

    def stored_as_asked(driver: JobDriver) -> StoredJob:
        job = stored(driver)
        return replace(job, spec=replace(job.spec, noted={}))

    return (method(JobDriver._stored, stored_as_asked),)


def _paused_begins_nothing() -> Patches:
    """A paused job says so, and goes on."""
    may_begin = JobMachine._may_begin

    def may_begin_anyhow(machine: JobMachine, now: float) -> bool:
        is_paused, machine.is_paused = machine.is_paused, False
        try:
            return may_begin(machine, now)
        finally:
            machine.is_paused = is_paused

    return (method(JobMachine._may_begin, may_begin_anyhow),)


def _slow_tasks_backed_up() -> Patches:
    """A task is waited for, however slow its node."""
    return (method(JobMachine._slow_task, lambda machine, node, now: None),)


def _one_backup_a_task() -> Patches:
    """Every free slot gets a backup of a slow task."""

    def slow_task(machine: JobMachine, node: Any, now: float) -> Any:
        tasks = machine.reduces if machine.maps_done else machine.maps
        return next((task for task in tasks if task.is_running and not task.is_waiting), None)

    return (method(JobMachine._slow_task, slow_task),)


def _bad_records_whole() -> Patches:
    """What map gave for a record before its error counts."""

    def results_of(aside: SetAside, function: Any, records: Any) -> Any:
        for key, value in records:
            pairs = []
            try:
                for pair in function(key, value):
                    pairs.append(pair)  # noqa: PERF402 - it must be there when the next one is an error
            except ValueError as error:
                aside.add(key, value, error, "here")
            yield pairs

    return (method(SetAside.results_of, results_of),)


def _states_needed() -> Patches:
    """A reduce goes on without the states of a part that is gone."""
    blocks = StatesPart.blocks

    def blocks_that_are_there(part: StatesPart, gone: Any) -> Any:
        with suppress(TaskFailed):
            yield from blocks(part, gone)

    return (method(StatesPart.blocks, blocks_that_are_there),)


def _states_as_written() -> Patches:
    """A reduce takes any part with sound blocks in their order for that of its states."""
    blocks = StatesPart.blocks

    def blocks_of_any(part: StatesPart, gone: Any) -> Any:
        with suppress(OSError), closing(part._files.open_read(part._path)) as file:
            part.size = file.size
        try:
            yield from blocks(part, gone)
        except TaskFailed as failure:
            if "were written" not in failure.message:
                raise

    return (method(StatesPart.blocks, blocks_of_any),)


def _forgotten_refused() -> Patches:
    """Owners remove what is forgotten, and take anything that comes later."""
    return (method(ForgottenStore.check, lambda store, key: None),)


_USUAL: Final = usual_options(("jobs",))
_DAMAGE: Final = replace(_USUAL, faults=("shuffle_damage",))
_POWER: Final = replace(_USUAL, faults=("crash_all",))
_SLOW: Final = replace(_USUAL, faults=(), task_pause_s=2.0, quiet_s=600.0)
_MAPPERS: Final = replace(_SLOW, faults=("crash_mapper",), load_s=16.0)
_LOST: Final = replace(_USUAL, faults=("part_lost",))
_STATES: Final = replace(_USUAL, faults=("states_lost",))
_ERRORS: Final = replace(_USUAL, faults=("commit_error",))
_PAUSED_KEEPERS: Final = replace(_USUAL, faults=("pause_keeper",))
_SLOW_PAUSED: Final = replace(_SLOW, faults=("pause_keeper",))
_CRASHED_KEEPERS: Final = replace(_USUAL, faults=("crash_keeper",))
_SLOW_NODES: Final = replace(_USUAL, faults=("slow_node",), core=0.0)

JOB_ABLATIONS: Final = (
    Ablation("orders-once", "an assignment that came twice is one attempt", _orders_once(), rules=("J1",)),
    Ablation(
        "slice-checksum",
        "a slice is compared with what its map committed",
        _slice_checksum(),
        _DAMAGE,
        rules=("J3",),
    ),
    Ablation(
        "commit-repeated",
        "a commit that may show is repeated",
        _commit_repeated(),
        _ERRORS,
        rules=("J10",),
    ),
    Ablation(
        "lost-output-revoked",
        "a map whose output is lost runs again",
        _lost_output_revoked(),
        _DAMAGE,
        rules=("J4",),
    ),
    Ablation(
        "output-folders-synced",
        "names of an output are durable before it shows",
        _folders_synced(),
        _POWER,
        rules=("J7",),
    ),
    Ablation(
        "parts-synced",
        "a part is on the disk before its attempt is done",
        _parts_synced(),
        _POWER,
        rules=("J6",),
    ),
    Ablation("shown-by-one-rename", "an output shows when it is whole", _success_last(), rules=("J7",)),
    Ablation("manifest", "an output has its manifest", _manifest(), rules=("J7",)),
    Ablation(
        "missing-is-not-moved",
        "a missing part is not taken as moved",
        _missing_is_not_moved(),
        _LOST,
        rules=("J8",),
    ),
    Ablation(
        "one-output-shown-once",
        "of two jobs with one output one is shown",
        _one_output_shown_once(),
        _SLOW,
        rules=("J9",),
    ),
    Ablation(
        "read-maps-count",
        "a map lost after its last reader has done its work",
        _read_maps_count(),
        _MAPPERS,
        rules=("J4",),
    ),
    Ablation(
        "lost-attempts-noticed",
        "an attempt its worker has forgotten is lost, alone or with its job",
        _lost_attempts_noticed(),
        _SLOW_PAUSED,
        rules=("J5",),
    ),
    Ablation(
        "stray-frees-its-name",
        "a stopped stray is no running attempt",
        _stray_frees_its_name(),
        _PAUSED_KEEPERS,
        rules=("J5",),
    ),
    Ablation(
        "jobs-taken-over",
        "a job goes on with another coordinator",
        _jobs_taken_over(),
        _CRASHED_KEEPERS,
        rules=("J12",),
    ),
    Ablation(
        "journal-sealed",
        "a former coordinator writes no journal",
        _journal_sealed(),
        _PAUSED_KEEPERS,
        rules=("J13",),
    ),
    Ablation(
        "stages-noted",
        "a chain goes on with the stage where it was",
        _stages_noted(),
        _CRASHED_KEEPERS,
        rules=("J24",),
    ),
    Ablation(
        "rounds-asked",
        "the rounds of an iteration end where its function says so",
        _rounds_asked(),
        replace(_USUAL, faults=()),
        rules=("J24",),
    ),
    Ablation(
        "own-folder-planned",
        "a coordinator that plans late has a hidden folder of its own",
        _own_folder_planned(),
        _SLOW_PAUSED,
        rules=("J13",),
    ),
    Ablation(
        "noted-input-kept",
        "what planning noted of the input outlives a coordinator",
        _noted_input_kept(),
        _CRASHED_KEEPERS,
        rules=("J20",),
    ),
    Ablation(
        "paused-begins-nothing",
        "a paused job begins no attempt",
        _paused_begins_nothing(),
        replace(_USUAL, faults=()),
        rules=("J21",),
    ),
    Ablation(
        "slow-tasks-backed-up",
        "a slow task is run once more on another node",
        _slow_tasks_backed_up(),
        _SLOW_NODES,
        rules=("J17",),
    ),
    Ablation(
        "one-backup-a-task",
        "a slow task has one backup at a time",
        _one_backup_a_task(),
        _SLOW_NODES,
        rules=("J17",),
    ),
    Ablation(
        "bad-records-whole",
        "a record that is set aside gives nothing else",
        _bad_records_whole(),
        replace(_USUAL, faults=()),
        rules=("J19",),
    ),
    Ablation(
        "seen-down-passed",
        "no job and no task is given to a member that is seen down",
        _seen_down_passed(),
        replace(_USUAL, faults=(), core=1.0),
        rules=("T7",),
    ),
    Ablation(
        "states-needed",
        "a reduce without the states of its part fails",
        _states_needed(),
        _STATES,
        rules=("J30",),
    ),
    Ablation(
        "states-as-written",
        "size, checksum and records of a part with states are compared with its manifest",
        _states_as_written(),
        _STATES,
        rules=("J30",),
    ),
    Ablation(
        "forgotten-refused",
        "owners refuse what concerns a journal that is forgotten",
        _forgotten_refused(),
        rules=("J29",),
    ),
)
