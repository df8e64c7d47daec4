"""The records of a job as values: with their types, bounded, and nothing left beside them."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringmill import CollectOutput, FileOutput, job, read_result, run_local
from ringmill.client.jobs.collected import collect_records
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, JobFailed
from ringmill.cluster.mapreduce.kernel import typed_output
from tests.cluster.mapreduce import chain_jobs

TEXT = "a b c a b a d\n" * 500


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "in.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return "in.txt"


@pytest.mark.parametrize("processes", [1, 2])
def test_records_come_back_in_the_order_of_the_parts(tmp_path: Path, text: str, processes: int) -> None:
    result = run_local(chain_jobs.most_frequent, text, CollectOutput(), processes=processes)
    assert list(result.collected) == Counter(TEXT.split()).most_common() and result.output == ""
    declared = job(map=chain_jobs.words, params={"without": ""}, output=CollectOutput(1), reducers=0)
    some = run_local(declared, text)
    assert [pair for pair in some.collected if pair[0] == "d"] == [("d", 1)] * 500 and not some.parts
    assert [each.name for each in tmp_path.iterdir()] == ["in.txt"], "nothing is left"
    run_local(declared, text, "folder")
    assert (tmp_path / "folder" / "part-00000").read_bytes().startswith(b"\x96\xa6RMREC1")


def test_a_job_that_reads_nothing_gives_no_records(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.txt").write_text("")
    for reducers in (2, 0):
        given = job(map=chain_jobs.words, params={"without": ""}, output=CollectOutput(), reducers=reducers)
        assert run_local(given, text).collected == (), reducers
    assert [each.name for each in tmp_path.iterdir()] == ["in.txt"], "nothing is left"


def test_more_than_the_bound_fails_the_job_early(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.txt").write_text("".join(f"{n:0999}\n" for n in range(1500)))
    for reducers in (4, 1, 0):
        lines = job(
            map=chain_jobs.words, params={"without": ""}, output=FileOutput("jsonl"), reducers=reducers
        )
        with pytest.raises(JobFailed, match=r"more than 1 MiB of records, the most that its caller takes"):
            run_local(lines, text, CollectOutput(max_mib=1))
        assert [each.name for each in tmp_path.iterdir()] == ["in.txt"]
    assert len(run_local(lines, text, CollectOutput(max_mib=2)).collected) == 1500


@pytest.mark.parametrize("wrong", [0, -1, 4097, True, "1", None, 1.5])
def test_an_invalid_bound_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_mib must be 1 to 4096"):
        CollectOutput(wrong)


def test_what_cannot_be_collected_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="overwrite is for folders"):
        run_local(chain_jobs.counts, text, CollectOutput(), overwrite=True)
    with pytest.raises(InvalidArgument, match="needs an output"):
        run_local(chain_jobs.counts, text)


@pytest.mark.parametrize("failure", [OSError(errno.EMFILE, "too many"), MemoryError(), KeyboardInterrupt()])
def test_records_that_could_not_be_taken_in_are_kept_and_named(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    real, opened = typed_output.records_in, list[str]()

    def failing(types: Any, folder: str, files: Any) -> Iterator[Any]:
        opened.append(folder)
        yield next(real(types, folder, files))
        raise failure

    monkeypatch.setattr("ringmill.client.jobs.collected.records_in", failing)
    lines = job(map=chain_jobs.words, params={"without": ""}, output=CollectOutput(), reducers=0)
    with pytest.raises(type(failure)) as raised:
        run_local(lines, text)
    assert opened[0] in raised.value.__notes__[0]
    assert len(list(read_result(lines, opened[0]))) == 3500


def test_records_that_were_taken_in_are_given_even_if_their_folder_stays(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = OsFileSystem.remove_tree, list[str]()

    def refusing(self: OsFileSystem, path: str) -> None:
        if self.exists(path) and any(name.startswith("part-") for name in self.list(path)):
            removed.append(path)
            raise OSError(errno.EIO, "broken")
        real(self, path)

    monkeypatch.setattr(OsFileSystem, "remove_tree", refusing)
    assert len(run_local(chain_jobs.counts, text, CollectOutput()).collected) == 4 and removed


async def test_a_cancellation_while_records_are_read_leaves_their_folder(tmp_path: Path, text: str) -> None:
    lines = job(map=chain_jobs.words, params={"without": ""}, output=FileOutput("records"), reducers=0)
    await asyncio.to_thread(run_local, lines, text, "kept")
    folder = str(tmp_path / "kept")
    with closing(OsFileSystem()) as files:
        taking = asyncio.create_task(collect_records(lines, folder, files))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        assert taking.cancelled() and files.exists(folder)
        assert len(await collect_records(lines, folder, files)) == 3500
        assert not files.exists(folder)
