"""Inputs of one form have a bound together, and the folder for them holds nothing else."""

from __future__ import annotations

import os
import sys
from typing import cast

import pytest
from aiohttp import BodyPartReader

from ringmill.client.cli.doors.door_jobs import checked_jobs_folder
from ringmill.client.gateway.http.answers import job_submission
from ringmill.client.gateway.http.answers.job_submission import InputRoom
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.cluster.errors import InvalidArgument


class Part:
    """An input of four bytes."""

    def __init__(self) -> None:
        self._left = [b"ab", b"cd"]

    async def read_chunk(self, size: int) -> bytes:
        return self._left.pop(0) if self._left else b""


async def taken(room: InputRoom) -> bytes:
    return b"".join([piece async for piece in room.pieces(cast("BodyPartReader", Part()))])


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("MOST_INPUT_BYTES", 6, "the inputs have more than 6 bytes"),
        ("MOST_INPUTS", 1, "the inputs are more than 1 files"),
    ],
)
async def test_the_inputs_of_a_form_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, told: str
) -> None:
    monkeypatch.setattr(job_submission, limit, value)
    room = InputRoom()
    assert await taken(room) == b"abcd"
    with pytest.raises(HttpRefusal, match=told) as refused:
        await taken(room)
    assert refused.value.status == 413


def test_a_folder_that_holds_the_software_is_not_for_jobs() -> None:
    with pytest.raises(InvalidArgument, match="holds software that modules of jobs import"):
        checked_jobs_folder(os.path.dirname(sys.prefix))
