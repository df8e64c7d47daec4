"""The thread of a task process that tells of progress: one for all attempts, each only while it runs."""

from __future__ import annotations

import socket
import time
from functools import partial

import pytest

from ringmill.cluster.adapters.files.counted_files import CountedFiles
from ringmill.cluster.mapreduce.messages.task_messages import Said
from ringmill.cluster.mapreduce.progress import AttemptProgress
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
                assert Said.decode(message) == Said("progress", [attempt, 9, "", ""])
            time.sleep(5 * EVERY_S)  # it waits to be woken
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
