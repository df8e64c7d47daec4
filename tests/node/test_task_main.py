"""What attempts in one task process share, and what each has only while it runs: progress, and a trace."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.counted_files import CountedFiles
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.messages.task_messages import JobStep, RunAttempt, Said
from ringmill.cluster.mapreduce.progress import AttemptProgress
from ringmill.cluster.ports import FileSystem
from ringmill.node import task_main

EVERY_S = 0.002


def test_progress_is_told_of_the_attempt_that_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_main, "_TELL_EVERY_S", EVERY_S)
    monkeypatch.setattr(task_main, "_IDLE_LOOKS", 1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        teller = task_main._Teller(task_main._Pipe(theirs))
        node = task_main._Pipe(ours)
        for attempt in (1, 2, 3):
            with teller.following(CountedFiles()) as progress:
                progress.follow(partial(AttemptProgress, attempt, 9))
                message = node.receive()
                assert message is not None
                assert Said.decode(message) == Said("progress", (attempt, 9, "", ""))
            time.sleep(5 * EVERY_S)  # it waits to be woken
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


def test_a_step_of_a_job_tells_that_it_gets_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_main, "_TELL_EVERY_S", EVERY_S)
    (path := tmp_path / "part").write_bytes(b"12345")
    ours, theirs = socket.socketpair()

    def publish(step: JobStep, files: FileSystem, _: object) -> list[object]:
        node = task_main._Pipe(ours)
        steps = (
            lambda: files.is_file(str(path)),
            lambda: files.size(str(path)),
            lambda: files.open_read(str(path)).pread(5, 0),
            lambda: files.open_below(str(tmp_path), str(path)).pread(5, 0),
            lambda: files.create(f"{path}.copy").append(b"12345"),
        )
        for each in steps:
            each()
            message = node.receive()
            assert message is not None
            assert Said.decode(message).kind == "progress"
        return []

    monkeypatch.setattr(task_main, "do_job_step", publish)
    with ours, theirs:
        ours.settimeout(10)
        here = task_main._Process(
            task_main._Teller(task_main._Pipe(theirs)), task_main._Fence(), task_main._Peak()
        )
        assert task_main._do(JobStep("publish", b""), here) == []


def test_an_attempt_finds_its_trace_in_the_environment_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("HOME", "TMPDIR", "TRACEPARENT"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(task_main, "run_attempt", lambda *_: os.environ.get("TRACEPARENT"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        here = task_main._Process(
            task_main._Teller(task_main._Pipe(theirs)), task_main._Fence(), task_main._Peak()
        )
        for trace in ("00-1-2-01", ""):
            run = RunAttempt("map", 0, 1, b"", "", str(tmp_path), str(tmp_path), trace=trace)
            found: object = task_main._run(run, here)
            assert (found, "TRACEPARENT" in os.environ) == (trace or None, False)


def test_a_disk_without_room_for_the_mark_of_a_record_is_full_and_ends_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(task_main, "_lift_memory_limit", lambda: None)
    monkeypatch.setattr(task_main, "run_attempt", lambda run, files, job, progress: progress.at_record(1))
    monkeypatch.setattr(os, "pwrite", no_room)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TaskFailed) as failed:
        here = task_main._Process(
            task_main._Teller(task_main._Pipe(theirs)), task_main._Fence(), task_main._Peak()
        )
        task_main._run(RunAttempt("map", 0, 1, b"", "/bundle", str(tmp_path), str(tmp_path)), here)
    assert failed.value.cause is Cause.DISK_FULL
    assert ".at-record" in failed.value.message
    assert os.listdir(tmp_path) == []


def test_a_map_that_closes_its_stdout_ends_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(task_main, "run_attempt", lambda *_: sys.stdout.close())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        here = task_main._Process(
            task_main._Teller(task_main._Pipe(theirs)), task_main._Fence(), task_main._Peak()
        )
        found: object = task_main._run(RunAttempt("map", 0, 1, b"", "", str(tmp_path), str(tmp_path)), here)
    assert found is None
