"""The client beside malformed messages: which answers it takes for wrong, and that it does not end unseen."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.malformed import __main__ as malformed
from chaos.malformed.__main__ import Checked
from chaos.opinions.whole_logs import tracebacks_in, whole_log
from ringmill.cluster.errors import RingmillError


class Answering:
    """A keyspace whose gets answer this, or with the value that was put."""

    def __init__(self, answer: bytes | BaseException | None) -> None:
        self._answer = answer

    async def put(self, key: str, value: bytes) -> None:
        if self._answer is None:
            self._value = value

    async def get(self, key: str) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return SimpleNamespace(value=self._value if self._answer is None else self._answer)


async def checked(
    answer: bytes | BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Checked, list[str]]:
    monkeypatch.setattr(malformed, "PAUSE_S", 0.001)
    seen = Checked()
    client = asyncio.create_task(malformed._check(Answering(answer), seen))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    return seen, await malformed._ended(client)


@pytest.mark.parametrize("garbage", [b"\xffgarbage", b"", b" 1", b"+1"])
async def test_an_answer_that_is_no_number_is_wrong(garbage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, ended = await checked(garbage, monkeypatch)
    assert len(seen.wrong) > 1, "it goes on"
    assert seen.gets == len(seen.wrong)
    assert ended == []


async def test_right_answers_and_refusals_are_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (None, RingmillError("busy")):
        seen, ended = await checked(answer, monkeypatch)
        assert (seen.wrong, ended) == ([], [])
        assert seen.puts > 1


async def test_a_client_that_ended_by_itself_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ended = await checked(KeyError("a field"), monkeypatch)
    assert ended == ["the client beside ended by KeyError('a field')"]


def test_the_log_of_a_node_is_all_of_its_files(tmp_path: Any) -> None:
    path = tmp_path / "n1.log"
    assert whole_log(path) == ""
    for suffix, text in ((".2", "one\n"), (".1", "Traceback (most recent call last)\n"), ("", "two\n")):
        (tmp_path / f"n1.log{suffix}").write_text(text)
    assert whole_log(path) == "one\nTraceback (most recent call last)\ntwo\n"
    assert tracebacks_in(whole_log(path)) == 1
