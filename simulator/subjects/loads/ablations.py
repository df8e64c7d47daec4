"""Safeguards that jobs rely on which load a keyspace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.keyspace_records import Content
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.mapreduce.machine.job_events import NOT_LOADED, LoadMoved
from ringmill.cluster.ring.keyspaces.generations import Generation
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.keyspaces.loading import Loader
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, method

__all__ = ["LOAD_ABLATIONS"]

_OPTIONS: Final = SimulationOptions(("loads",), nodes=5, faults=("crash_loader", "pause_loader"))


def _load_noted() -> Patches:
    """The journal hears nothing of a load."""

    async def forgotten(driver: JobDriver, mark: LoadMoved) -> None:
        return

    return (method(JobDriver._note_load, forgotten),)


def _window_repeated() -> Patches:
    """A coordinator that takes over takes the window that it finds for one that was put."""
    run = Loader.run

    async def behind(loader: Loader, mark: LoadMoved) -> None:
        await run(loader, LoadMoved(mark.records + loader._window, 0) if mark.born_ms else NOT_LOADED)

    return (method(Loader.run, behind),)


def _replaced_in_one_step() -> Patches:
    """A job that replaces a keyspace puts its records into it, one by one."""
    return (method(JobSpec.replaces, property(lambda spec: False)),)


def _flip_found() -> Patches:
    """Who goes on with a job does not know its own generation when it has the keyspace's name."""
    return (method(Generation.shown_in, lambda generation, topology: False),)


def _snapshot_read() -> Patches:
    """A job of a snapshot reads what its keyspace holds by then."""
    read = OwnKeyspaces.read

    def present(
        keyspaces: OwnKeyspaces, source: KeyspacePath, span: PartitionSpan, level: str, patience_s: float
    ) -> AsyncGenerator[Sequence[tuple[bytes, Content]], None]:
        return read(keyspaces, source, span._replace(snapshot=""), level, patience_s)

    return (method(OwnKeyspaces.read, present),)


LOAD_ABLATIONS: Final = (
    Ablation(
        "snapshot-read",
        "a job of a snapshot reads what was held when it was planned",
        _snapshot_read(),
        rules=("J27",),
    ),
    Ablation(
        "replaced-in-one-step",
        "a keyspace is replaced by one change of the topology",
        _replaced_in_one_step(),
        rules=("J25",),
    ),
    Ablation(
        "flip-found",
        "a coordinator that takes over finds the keyspace replaced",
        _flip_found(),
        _OPTIONS,
        rules=("J25",),
    ),
    Ablation(
        "load-noted",
        "the names of records are in the journal before they are sent",
        _load_noted(),
        _OPTIONS,
        rules=("J18",),
    ),
    Ablation(
        "window-repeated",
        "a window that was begun is put again",
        _window_repeated(),
        _OPTIONS,
        rules=("J18",),
    ),
)
