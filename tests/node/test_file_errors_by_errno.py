"""One errno means one thing, wherever a node meets it."""

from __future__ import annotations

import errno
import os

import msgpack
import pytest

from ringmill.cluster.errors import (
    CorruptData,
    DiskFull,
    InvalidArgument,
    NotFound,
    Overloaded,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.job_steps import plan_job, publish_output
from ringmill.cluster.mapreduce.failures import Cause, classify
from ringmill.cluster.mapreduce.file_errors import failure_of, refusal_of
from ringmill.cluster.os_errors import Meaning, meaning_of
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.compute.shuffle_server import SHUFFLE_FETCH, OutputId, ShuffleServer
from ringmill.node.replica.control_copy import ControlCopy
from ringmill.node.storage.storage_errors import StorageFailed, write_failed
from ringmill.simulator.disk.lossy import LossyDisk

MEANINGS = {
    errno.ENOSPC: Meaning.FULL,
    errno.EDQUOT: Meaning.FULL,
    errno.EACCES: Meaning.FORBIDDEN,
    errno.EPERM: Meaning.FORBIDDEN,
    errno.EROFS: Meaning.FORBIDDEN,
    errno.ENOENT: Meaning.ABSENT,
    errno.ENOTDIR: Meaning.ABSENT,
    errno.EISDIR: Meaning.ABSENT,
    errno.EEXIST: Meaning.TAKEN,
    errno.ENOTEMPTY: Meaning.TAKEN,
    errno.EMFILE: Meaning.EXHAUSTED,
    errno.ENOMEM: Meaning.EXHAUSTED,
    errno.EIO: Meaning.BROKEN,
    errno.ENODEV: Meaning.BROKEN,
}
EVERY = pytest.mark.parametrize("number", MEANINGS, ids=lambda number: errno.errorcode[number])
PUBLISHES = {Meaning.FULL: DiskFull, Meaning.FORBIDDEN: InvalidArgument}


def failing(number: int) -> LossyDisk:
    """A disk on which every call fails alike."""

    def hook(call: str, path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    disk = LossyDisk()
    disk.mkdir("/data")
    disk.create("/data/in").append(b"a line\n")
    disk.hook = hook
    return disk


def spec() -> JobSpec:
    return JobSpec("j-1", "m", "n", "0" * 64, ("/data/in",), "/data/out", "lines", "tsv", 1)


@EVERY
def test_an_errno_has_one_meaning(number: int) -> None:
    assert meaning_of(OSError(number, "")) is MEANINGS[number]


def test_an_error_without_an_errno_is_a_broken_device() -> None:
    assert meaning_of(OSError("rubbish")) is Meaning.BROKEN


@EVERY
def test_the_engine_waits_for_space_and_gives_up_for_all_else(number: int) -> None:
    refusal = write_failed(OSError(number, os.strerror(number), "/data/1.log"))
    assert type(refusal) is (DiskFull if MEANINGS[number] is Meaning.FULL else StorageFailed)
    assert (refusal.outcome, refusal.detail["errno"]) == ("unknown", number)


@EVERY
async def test_so_does_the_second_copy_of_control_state(number: int) -> None:
    with pytest.raises(RingmillError) as refusal:
        await ControlCopy("/data", failing(number)).write({})
    assert refusal.type is (DiskFull if MEANINGS[number] is Meaning.FULL else Unavailable)


@EVERY
def test_an_attempt_is_charged_by_the_meaning_whichever_process_met_the_error(number: int) -> None:
    error = OSError(number, os.strerror(number), "/data/x")
    causes = {Meaning.FULL: Cause.DISK_FULL, Meaning.FORBIDDEN: Cause.USER_ERROR}
    cause = causes.get(MEANINGS[number], Cause.ENGINE_ERROR)
    assert failure_of(error, "reduce").cause is cause
    assert classify(error, ()).cause is cause
    for told in (str(failure_of(error, "reduce")), str(refusal_of(error, "output /out"))):
        assert f"{os.strerror(number)}: /data/x" in told


@EVERY
def test_whoever_submits_a_job_hears_what_happened_and_where(number: int) -> None:
    kinds = {**PUBLISHES, Meaning.ABSENT: InvalidArgument, Meaning.TAKEN: InvalidArgument}
    with pytest.raises(RingmillError, match="/data") as refusal:
        plan_job(spec(), failing(number))
    assert refusal.type is kinds.get(MEANINGS[number], RingmillError)


@EVERY
def test_whoever_waits_for_an_output_hears_what_happened_and_where(number: int) -> None:
    with pytest.raises(RingmillError, match=r"output /data/out: .*: /data/") as refusal:
        publish_output(spec(), (), failing(number), again=True)
    assert refusal.type is PUBLISHES.get(MEANINGS[number], RingmillError)


@EVERY
async def test_a_map_output_is_lost_unless_the_node_has_only_run_out_of_descriptors(number: int) -> None:
    server = ShuffleServer(failing(number))
    server.announce(OutputId("j-1", 0, 1), "/data/map.run")
    body: bytes = msgpack.packb(["j-1", 0, 1, 0, 10])
    answer = server.handlers()[SHUFFLE_FETCH](Incoming(NodeId("n2"), SHUFFLE_FETCH, body, 1.0, Priority.BULK))
    assert not isinstance(answer, bytes)
    kinds = {Meaning.ABSENT: NotFound, Meaning.EXHAUSTED: Overloaded}
    with pytest.raises(RingmillError) as refusal:
        await answer
    assert refusal.type is kinds.get(MEANINGS[number], CorruptData)
