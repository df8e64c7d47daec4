"""What is sent to the workers of another engine runs in a process that has none of the job's modules."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ringmill.client.engines.elsewhere import elsewhere
from ringmill.client.engines.shipping import Shipped, shippable
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument

cloudpickle = pytest.importorskip("cloudpickle")

JOB = """
import re
import threading
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import NewType
from ringmill import job

Word = NewType("Word", str)
Rare = NewType("Rare", Word)
GUARD = threading.RLock()
SOUNDS = re.compile("[aeiou]")

@cache
def stop_words(path: str) -> frozenset[str]:
    return frozenset(open(path).read().split())

@lru_cache(maxsize=7, typed=True)
def steps(number: int) -> int:
    return 0 if number == 0 else 1 + steps(number - 1)

def words(offset: int, line: str) -> Iterator[tuple[Rare, int]]:
    for word in line.split():
        if word not in stop_words("stop"):
            yield Rare(Word(word)), steps(len(SOUNDS.findall(word)))

def task(line: str) -> list[object]:
    (given,) = words.__annotations__["return"].__args__
    return [*words(0, line), steps.cache_parameters(), given.__args__[0]]

def guarded(line: str) -> str:
    with GUARD:
        return line

counting = job(map=words)
"""
WORKER = """
import pickle, sys
run, task = pickle.load(sys.stdin.buffer)
print(run(task).outcome.value)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "shipped_job.py").write_text(JOB)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("shipped_job")
    sys.modules.pop("shipped_job")


def sent(module: Any, name: str) -> Any:
    return shippable(getattr(module, name), {module.__file__}, cloudpickle)


def test_what_is_cached_and_new_types_travel_by_value(module: Any, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "stop").write_text("the a")
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=pickle.dumps((sent(module, "task"), "the audio a dog")),
        cwd=tmp_path / "work", capture_output=True, check=True,
    )  # fmt: skip
    told = "[('audio', 4), ('dog', 1), {'maxsize': 7, 'typed': True}, shipped_job.Rare]"
    assert done.stdout.decode().strip() == told


def test_what_cannot_travel_is_refused_by_name(module: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot be sent.*RLock"):
        sent(module, "guarded")
    module.guarded.__globals__["GUARD"] = ByName()
    with pytest.raises(InvalidArgument, match=r"shipped_job\.THERE is a ByName, which travels to no worker"):
        sent(module, "guarded")


def two_workers(
    run: Callable[[Any], Shipped[Any]], tasks: Sequence[Any]
) -> Generator[Shipped[Any], None, None]:
    for number, task in enumerate(tasks):
        yield replace(run(task), hashed=number % 2)


def test_workers_with_two_hash_seeds_run_no_job_that_says_which_part_a_key_goes_to(module: Any) -> None:
    told: list[object] = []
    for definition in (module.counting, replace(module.counting, partition=module.steps)):
        with closing(OsFileSystem()) as files:
            results = elsewhere(definition, two_workers, cloudpickle)(files)(module.steps, [1, 2, 3])
            try:
                told.append(list(results))
            except InvalidArgument as error:
                told.append(error.message)
    assert told[0] == [1, 2, 3]
    assert "different hash seeds" in str(told[1])


class ByName:
    """As what `type X = ...` makes."""

    __module__ = "shipped_job"

    def __reduce__(self) -> str:
        return "THERE"
