"""Inputs of a form are there for its job, and gone when the job is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ringmill.client.gateway.jobs.form_inputs import FormInputs
from ringmill.client.gateway.jobs.kept_inputs import KeptInputs
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import DeadlineExceeded, DiskFull, InvalidArgument, Overloaded, RingmillError


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptInputs]:
    with closing(OsFileSystem()) as files:
        yield KeptInputs(files, str(tmp_path), OsEntropy())


async def text() -> AsyncIterator[bytes]:
    yield b"text"


def content(path: str) -> bytes | None:
    """None for no file."""
    return Path(path).read_bytes() if Path(path).exists() else None


def inode(path: str) -> int:
    return Path(path).stat().st_ino


async def submitted(
    kept: KeptInputs, error: Exception | None, *, is_published: bool = True, is_first: bool = True
) -> str:
    """One form with one input, whose job ends with this error."""
    path = ""
    try:
        async with FormInputs(kept) as sent:
            path = await sent.take("a.txt", text())
            assert (content(path) is None) == is_first, "no job is handed over yet"
            if is_published:
                await sent.publish()
                assert content(path) == b"text"
            if error is not None:
                raise error
    except (RingmillError, ValueError) as raised:
        assert raised is error
    return path


REFUSED = InvalidArgument("the id is that of another job")


async def test_of_a_form_that_is_refused_before_or_after_its_job_is_handed_over_nothing_is_left(
    kept: KeptInputs, tmp_path: Path
) -> None:
    for error in (ValueError("the form breaks off"), REFUSED):
        await submitted(kept, error, is_published=False)
        assert list((tmp_path / "inputs").iterdir()) == []
    await submitted(kept, REFUSED)
    assert list((tmp_path / "inputs").iterdir()) == []


@pytest.mark.parametrize("refusal", [Overloaded("the list of jobs is full"), DiskFull("no space")])
async def test_a_cluster_that_is_full_leaves_no_input_of_what_it_refuses_unless_a_member_may_have_taken_it(
    kept: KeptInputs, tmp_path: Path, refusal: RingmillError
) -> None:
    await submitted(kept, refusal)
    assert list((tmp_path / "inputs").iterdir()) == []
    path = await submitted(kept, refusal.with_outcome("unknown"))
    assert content(path) == b"text"


async def test_the_input_of_a_job_that_was_taken_or_may_have_been_stays_and_is_alone(
    kept: KeptInputs, tmp_path: Path
) -> None:
    path = await submitted(kept, DeadlineExceeded("no answer", outcome="unknown"))
    assert [str(each) for each in (tmp_path / "inputs").iterdir()] == [path]
    assert await submitted(kept, REFUSED, is_first=False) == path
    assert content(path) == b"text", "it is another form's"


async def test_a_form_takes_nothing_from_another_that_has_found_its_input(kept: KeptInputs) -> None:
    async with FormInputs(kept) as second:
        path = await second.take("a.txt", text())
        with pytest.raises(InvalidArgument):
            async with FormInputs(kept) as first:
                await first.take("a.txt", text())
                await first.publish()
                before = inode(path)
                await second.publish()
                raise REFUSED
        assert inode(path) == before


async def test_a_form_finds_its_input_though_another_withdraws_it_at_that_moment(
    kept: KeptInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await kept.write("a.txt", text())
    second = await kept.write("a.txt", text())
    assert await kept.name(first)
    unlink = OsFileSystem.unlink

    def unlink_late(files: OsFileSystem, path: str) -> None:
        monkeypatch.setattr(OsFileSystem, "unlink", unlink)
        assert not kept._name(second), "it has found the file"
        unlink(files, path)

    monkeypatch.setattr(OsFileSystem, "unlink", unlink_late)
    await kept.withdraw(first)
    assert content(first.path) == b"text"


async def test_a_gateway_without_a_folder_says_so() -> None:
    with pytest.raises(InvalidArgument, match="keeps no inputs"):
        async with FormInputs(None) as sent:
            await sent.take("a.txt", text())
