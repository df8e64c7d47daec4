"""Commits an output that is named by a URL: the staged parts are copied to the store, _SUCCESS comes last.

A store has no rename.  So parts appear one after the other, and the output counts from its _SUCCESS on, which
names each part with its size and checksum.  A copy can be repeated: it replaces what a former one has left.
With `overwrite` all parts are checked, then the former _SUCCESS is removed, and parts that the new output
has not are removed before its own is written: no _SUCCESS ever stands beside parts of another output.

Two coordinators of a job may be at it together for a while.  So nothing of the job is removed here: its
copies go (`remove_copies`) once the journal says that it has failed.  And before _SUCCESS is written the
store is asked for all that it names.

I/O only through the FileSystem passed in.

Rule J26: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import google_crc32c

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.commit.output_commit import OutputMayShow, StagedPart, manifest
from ringmill.cluster.mapreduce.file_urls import refuse_local_store
from ringmill.cluster.mapreduce.outputs import SUCCESS
from ringmill.cluster.ports import FileSystem

__all__ = ["commit_to_store", "leaves_copies", "remove_copies"]

_PIECE_BYTES: Final = 4 << 20
_FORMER_IS_GONE: Final = "former_is_gone"


def commit_to_store(
    files: FileSystem, url: str, parts: Sequence[StagedPart], *, overwrite: bool, again: bool
) -> None:
    """Returns when _SUCCESS is in the store.  `again` says that an earlier call may have done some of it.

    Raises InvalidArgument when another job has made the output, or the URL is of no store; CorruptData when a
    staged part is gone or is not what its task wrote; OutputMayShow when the output may count, or the former
    one counts no more; any other OSError when neither is the case.
    """
    refuse_local_store(url)  # of a job that a former version has accepted
    success, wanted = f"{url}/{SUCCESS}", manifest(parts)
    try:
        present = _read(files, success)
    except OSError as error:
        if again:
            raise _may_show(error) from error
        raise
    if again and present == wanted:
        return
    if present is not None and not overwrite:
        raise InvalidArgument(f"output {url} exists: another job was faster")
    is_begun = again and overwrite and present is None  # an earlier call may have removed the former one
    targets = [f"{url}/{part.name}" for part in parts]
    try:
        if present is not None or is_begun:
            _check(files, parts)
        if present is not None:
            now = _read(files, success)  # the parts may have been many
            if now == wanted != present:  # another coordinator of the job was at it, and is done
                return
            if now is not None:
                files.unlink(success)
        for part, target in zip(parts, targets, strict=True):
            _copy(files, part, target)
        if overwrite:
            _remove_others(files, url, {part.name for part in parts})
        _look_for_all(files, url, parts)
        _write(files, success, wanted)
    except (CorruptData, OSError) as error:
        if is_begun or not _is_as_before(files, success, present):
            raise _may_show(error) from error
        raise


def leaves_copies(error: BaseException) -> bool:
    """Whether a commit that has failed with this may have left copies that nobody misses."""
    if isinstance(error, CorruptData):
        return _FORMER_IS_GONE not in error.detail
    return not isinstance(error, OutputMayShow)


def remove_copies(files: FileSystem, url: str, parts: Sequence[StagedPart]) -> None:
    """Remove what a commit that has failed for certain has left, when nobody commits any more.

    A _SUCCESS is of another job, and so is what it names.  Raises InvalidArgument; OSError, once all that
    can be removed is.
    """
    refuse_local_store(url)
    if files.exists(f"{url}/{SUCCESS}"):
        return
    stays: OSError | None = None
    for part in parts:
        try:
            files.unlink(f"{url}/{part.name}")
        except FileNotFoundError:  # it was not copied
            continue
        except OSError as error:
            stays = stays or error
    if stays is not None:
        raise stays


def _may_show(error: OSError | CorruptData) -> OutputMayShow | CorruptData:
    """What is told when the former output may count no more."""
    if isinstance(error, CorruptData):  # nothing brings the part back, so it is not tried again
        text = f"{error.message}; the former output counts no more"
        return CorruptData(text, detail={**error.detail, _FORMER_IS_GONE: True})
    text = f"{error.strerror or error}; the output may show, or the former one is gone"
    return OutputMayShow(error.errno, text, error.filename)


def _check(files: FileSystem, parts: Sequence[StagedPart]) -> None:
    """Raises CorruptData while the former output stands: once its _SUCCESS is gone nothing brings it back."""
    for part in parts:
        try:
            is_sound = part.is_at(part.path, files)
        except FileNotFoundError as error:
            raise _gone(part) from error
        if not is_sound:
            raise _damaged(part)


def _gone(part: StagedPart) -> CorruptData:
    return CorruptData(f"part {part.partition} is not at {part.path}")


def _damaged(part: StagedPart) -> CorruptData:
    return CorruptData(f"part {part.path} is not what its task wrote")


def _is_as_before(files: FileSystem, success: str, present: bytes | None) -> bool:
    """Whether a former output still counts, if there was one, and this one does not."""
    try:
        return _read(files, success) == present
    except OSError:
        return False


def _read(files: FileSystem, success: str) -> bytes | None:
    return files.read_bytes(success) if files.exists(success) else None


def _copy(files: FileSystem, part: StagedPart, target: str) -> None:
    try:
        source = part.opened(part.path, files)
    except FileNotFoundError as error:
        raise _gone(part) from error
    with contextlib.closing(source):
        if source.size != part.size:
            raise _damaged(part)
        copy, crc, at = files.create(target), 0, 0
        try:
            while data := source.pread(_PIECE_BYTES, at):
                copy.append(data)
                crc, at = google_crc32c.extend(crc, data), at + len(data)
            if (at, crc) != (part.size, part.crc32c):
                raise _damaged(part)
        except BaseException:
            with contextlib.suppress(OSError):  # now: a file that nobody holds any more would be closed, and
                copy.close()  # so stored, behind its removal
            raise
    copy.close()  # a store has an object when its writer closes it


def _write(files: FileSystem, path: str, content: bytes) -> None:
    file = files.create(path)
    file.append(content)
    file.close()


def _remove_others(files: FileSystem, url: str, own: set[str]) -> None:
    """Files of a former output that this one has not."""
    for name in files.list(url):
        if name not in own:
            files.unlink(f"{url}/{name}")


def _look_for_all(files: FileSystem, url: str, parts: Sequence[StagedPart]) -> None:
    """Raises OSError when a part is not there any more, or is another one by its size."""
    for part in parts:
        target = f"{url}/{part.name}"
        with contextlib.suppress(InvalidArgument):  # a store that does not tell sizes
            if (size := files.size(target)) != part.size:
                raise OSError(f"{target} has {size} bytes in place of {part.size} that were copied")
